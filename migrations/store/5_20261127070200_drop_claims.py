"""The last commit of a claim holds, so its entry is not kept; `deleted_ids` took over from `log_removals`."""

from tortoise import BaseDBAsyncClient

PHASE = "post-deploy"
RUN_IN_TRANSACTION = True


async def upgrade(db: BaseDBAsyncClient) -> str:
    return """
        SET LOCAL statement_timeout = 0;

        -- What the version before has deleted since the deploy began.
        INSERT INTO deleted_ids (kind, id) SELECT kind, id FROM log_removals ON CONFLICT (kind, id) DO NOTHING;
        DROP TABLE log_removals;
        ALTER TABLE stream_projections DROP COLUMN wdk_event_id;
    """


async def downgrade(db: BaseDBAsyncClient) -> str:
    return """
        ALTER TABLE stream_projections ADD COLUMN wdk_event_id varchar(41);
        CREATE TABLE log_removals (
            kind         varchar(20) NOT NULL
                CONSTRAINT log_removals_kind_check CHECK (kind IN ('stream', 'operation')),
            id           uuid NOT NULL,
            requested_at timestamptz NOT NULL DEFAULT CURRENT_TIMESTAMP,
            PRIMARY KEY (kind, id)
        );
        CREATE INDEX log_removals_oldest_idx ON log_removals (requested_at);
    """


MODELS_STATE = (
    "eJztXf9T2zgW/1c0+QU6k2MghdLjbm4GKO1yS0kHwrWzy45XsZXExbFcSSYwXf73lRQ7sW"
    "U7sRM7OD7N7HSJpOcvn/f09L5J/tmiDBO0d0cRaZ2Any0XjhH/I9rcBi3oebNG8ZvBviOH"
    "+XwAlSP6lBFoMt44gA5FvMlC1CS2x2zsiqG3eIz62HoGkxEGeOJSYGL3kZNDMYK2AUWMAu"
    "haAD15iNhj5DK6J65tYZNf3HaH613Gd+0fPjIYHiI2kq/7+x+82XYt9IRo+NN7MAY2cqwY"
    "GrYlLiDbDfbsyba7u8sPH+VI8Yh9w8SOP3bno71nNsLubLjv29aeoBF9Q+QiAhmyInC5vu"
    "MEsIZN0yfmDYz4aPao1rzBQgPoOwL01r8HvmsKCIC8k/jn8D/Bo0WGGcZ1t2fcXvQMo5Xg"
    "kXgEBe+giWMs+GtzLAUwL9PrzgGRrS1xg/NfTm923757IyHAlA2J7JRwtV4kIWRwSipBn6"
    "OMnhgiLnSMNLjPR5Ckw62QKbjzx86BeIBnAcBDrCpAtzWGT4aD3CEb8Z+do6MFcP/v9EYi"
    "zkdJyDGfhNOpeR10daZ9Avo51CZBAgwDsiTSH3gP4/MmHe04pQK2FZDuhX+sIuxhwxz8uU"
    "ZZiP41nuy+qUaqe5efL257p5+/iMuPKf3hSKROexeipyNbn5XW3XcKR2YXAV8ve78A8RP8"
    "1r2+UKfKbFzvt5Z4JugzbLh4YkArikbYHDa9CPU1eIhMLdHQh+bDBBLLiPVEJAG7jGDHEG"
    "ozKQtnAfXHX2+QIzVs6hQTa8X59EK3iK0w31bmean6bN4aPGJszkTWk7WAuphd54Yzb5MT"
    "ZINg8S4Ex+sBdSuv0VSExDutP+s+8avwKddgScKeeCVh260FVDe8TJNwEgoed3CWyk92jT"
    "tjtQW6cChfSdxb3CmhzpN+QVzXZ3oH6tqy3Em4QT4V1MCxKTfj8QAIVlHARpAByG17SMwR"
    "oCPsOxYYcHaAXb5y2sx+RG+k0R90uZgF3S4aQtmddCWqvpl2OGrucMj/F/A0wvEruRh1Uy"
    "ob8DL4XEEFnbkISQNRPtjfz4EyH5WJsuyLo0yQiUmAbQGkFTKNdj60wxWAC2mKQfLf2+51"
    "Otwqneo52yYDf8mVaKO43/5wPkx/7d63dn7/Y+fk5DvFbv++VZEnLRCKOdEh2rufT7+pjD"
    "i/6p6pel1c4ExhSrjuFmWKSqeZUiJTKPaJWUglzSlKCeLVShkd5dFFR9mq6CihiRgcFhL2"
    "cLwW8hKF3CP4EbnQNZHB3QCUwpAeemIZS0IKbRMEf1Ec9eJbbzEPZmHUq+71p3C4ypg4D0"
    "T2J3Ds49BfuhnIRygUwIVzvcFZcLCGehmKG/+jc3B4fPj+7bvD93yIfLhZy/ECRlxe9xQU"
    "bWp4ft+xzZQwC8YOgm6G8xmlU9Dsc8JNwpkeVShDcM+63auY4J5dqpJ59/nsgpuTUor5IO"
    "7IpAOtcy8NzL0oM4kilOL2LptHIZWeRctnkag8SI0tZIfJIiRrxMq2Z7FdEhlLpAvj4CaR"
    "/YgJsofur+hZ4nvJn0MYL5kh97B6ZCsBTQTbeTOBk1msNipN/M0t5KCpqPL7g+u7q6vWS3"
    "b6tcK4fTy7mAzdJ7KPmdF7Jd+5PHjfdRFAj9DxZZ4FEN9tAwiE1Qw47L640r+AzcAYPoM+"
    "crA7BAzzEX3IzJEY2keuORpD8tAGmIA+ZqNk0L6qm+hgfQ1UUntBsF4HkzcR3tzSlEjN8y"
    "AMMj8lNLBAcmcUrwysh1xLoFcavnlktpMtsp2ExAqFUSQMFo6vSRiscpVbSdhLrqYFtXGU"
    "pglhrqrjuzNDpSjOCp3GejnWOibT8JiM71krMjhOqRlcUwbrJEBZSQDu80PyvEIWYE6oA5"
    "g1DmBuke26JRHMmiK6cgjz/PT2/PTDxStFMIOy/2Tocr4fIDNmGdl2kC9eGd08eAJsRoFt"
    "IZfZ7FlW+IoGPOHM3wNfRVWwOYLuEPFB/D9X9v45faovBH9HMsL2Z3rMsqob6bhlDRRRW8"
    "ctX9N7m2cqCi6oCUKdF9R+8f+V26StUG2Fbq8V+qq7BOup8NfcJBirbA0MzWxEuWHbw/yf"
    "nFt5v8Qu2SB4izo3ESCy3Jw4VkscHmPOrJy+z9fpHseoV7JDAXoU1R6Arx/A9wDDJ2IINE"
    "cIDDDhl6IM8NtZKceylHC9NTyZAIVi61iMaLN+TS3XsfYCJ0abCaWa1donrNwn3NJClq3Z"
    "2/uKu05rZhlsoCprYj0Y4pYMDZ9T9caZPczMc6UQr5Tvqhvs09TXPzudt2+PO/tv370/Oj"
    "w+Pnq/P8uBJbsWJcPOLj+JJE2MKakJMgofVyruD8l0cmx5cmyMuR9YcIWM0mi9kkuvjBGl"
    "3E3hIPpuSoQvU6Uk6F43gb6/thYpLYFOGfIKwxkn0liGEQgHpsQeFhyxEIyvSWVnfIPzz5"
    "ft3ODMu/gbFBZplaxBFkdp8u1AygwZIim40iUIm7fcHR7kWO0ODzIXO9Gl1NvoCsBC2mTr"
    "UlmWTcc2pSuxWKUtgck1m17N5DRBkKYlKLJ1Zxpt89Rn+dtswuNKDckZe+xhwgq7wdkX0U"
    "5xjopRl2AsFiLhLxQ6+idJuZaNXDPR37RJHHi/1IADlpbfXxCiSFA2T/WUb7k5mKYs6NnS"
    "Ho7XMr66jIugcdEUSpSmeXJdSRYlhMzAg+JB/Qhhg9zrDQf0RdDIKL55SCXTQbuZkeLg4T"
    "DNMlxknsxp6he827m/3/l5L1/wvnVy35rct9r30URmpFXJtUV6wgxQpClMWESbooH1SPs8"
    "QhxpFDIY+Rk38mKPOo/FRZqjPm9q89RBinTNzPfYM6cb9cmXCqyesOOFwxpERHe2KSAaAS"
    "Ep49nlMAqZLjRfWDgbopVEuGjxbKEPZNQT2qUVtIpslXAclVpal+RDWPqZjwu3K3/KpQ7F"
    "dEsZECslzFHEvM72uIhAJ2tH49KeWTUa+/bM8mLRU7n+hh/IALZFZf0mGyEwweRBHjgROX"
    "QLWIjYfKkDA4LHAItiTirO2gqXhmk7BOFCmawm3cQN9ca5GiwBbaA3zukDv2qCbyUevlS1"
    "BT9LEKWpnz+0xae1b/yTBOUxwIPcratxfkiXqKZg/ioRrSmYyFuRCzNCzYFVOTD9clzh+L"
    "lCpkPoeiNC3axFDxL+Fws++p67MDNGpdNya3xuBhJR9TeN9RTlgUKpLcsSGYOjG8fz6qAY"
    "UfM0UPlG5tZX19foqD99tEvDqyT1iZil5LP1znd9QM7rZpdKOSBHOSFEiQrkPyGn4Se5VH"
    "Sm5fxcoWTOLnbmUGbKLn7AUZ6cnXjwIeF2jwW+4374VXvTsbkfAEzoAsumJuY6vy1PoBTJ"
    "NQdBigCnQARMRrY54gQi4cZ/Et+lwGZpubrqbqRzdDVQ3+0FObqiUZe1wi11099VH2GyxZ"
    "+N4arJfqxzukJ7Pw33fkw89oShtBKLFVq9G7DOnJ7aDQUrRWJEDQy9VZFpkUYbN8YeUEpQ"
    "Idu2Ush05Wsc1RGChPX5mrKColJptaKqs6KaTgT05NlEFMMX5nYaveZ4nTluirCVYxDEka"
    "Ur2iLpl9B8rzPfESE4Ja7ZQ08ZkfcZQRNMkUWcvPjWW5x7nTHyqnv9KRyuJmQTfjJhBueh"
    "XTQBm6RsAv5V78eGjKGxx1IiE5mZpSiJ3ioZniPA2bQCliqZTtXV4RTwmumAcnwTnfysMv"
    "mZtbWuaPoz9+a6espoGbvrVKFdH1SdU36FT/+dImKbo1YyRxp0tBckSOF8yLLkaDaaJScc"
    "M9fwvBX2AevWSzRWX1+/5hKenV/MrGHKtumzi5iakGWsJLAr5lQBhIPhDUS3kpp5fkeG0i"
    "pWs4u1IyQ1qdLennL5hMG1yZXs5W9qtFzn"
)
