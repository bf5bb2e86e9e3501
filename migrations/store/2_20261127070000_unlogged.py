"""The log follows the database: a row names the columns that its log does not hold yet.

The new columns are null or have a constant default: the table is locked for a moment and not rewritten. Rows that are
there are logged, as the version before left them; a new row begins with nothing logged.
"""

from tortoise import BaseDBAsyncClient

RUN_IN_TRANSACTION = True


async def upgrade(db: BaseDBAsyncClient) -> str:
    return """
        SET LOCAL statement_timeout = 0;

        -- Every conversation and operation that was deleted here: its log goes, and its id is never used again.
        -- 'messages': a conversation that a purge has kept, without what was said in it.
        CREATE TABLE deleted_ids (
            kind           varchar(20) NOT NULL
                CONSTRAINT deleted_ids_kind_check CHECK (kind IN ('stream', 'operation', 'messages')),
            id             uuid NOT NULL,
            deleted_at     timestamptz NOT NULL DEFAULT CURRENT_TIMESTAMP,
            log_removed_at timestamptz,
            PRIMARY KEY (kind, id)
        );
        CREATE INDEX deleted_ids_waiting_idx ON deleted_ids (deleted_at) WHERE log_removed_at IS NULL;
        INSERT INTO deleted_ids (kind, id) SELECT kind, id FROM log_removals;

        -- Events of the application that are part of a unit of work, until they are appended to the log.
        CREATE TABLE stream_events (
            user_id      uuid NOT NULL,
            stream_id    uuid NOT NULL,
            key          uuid NOT NULL,
            number       bigint NOT NULL GENERATED ALWAYS AS IDENTITY,
            operation_id text NOT NULL,
            type         varchar(100) NOT NULL,
            data         text NOT NULL,
            PRIMARY KEY (user_id, stream_id, key),
            CONSTRAINT stream_events_stream_fkey
                FOREIGN KEY (user_id, stream_id) REFERENCES streams (user_id, id) ON DELETE CASCADE
        );

        ALTER TABLE stream_projections
            ADD COLUMN unrooted_steps jsonb,
            ADD COLUMN messages_after varchar(41),
            ADD COLUMN lost jsonb,
            ADD COLUMN unlogged jsonb NOT NULL DEFAULT '{}';
        ALTER TABLE stream_projections ALTER COLUMN unlogged SET DEFAULT '{"name":"w","record_type":"w",
            "wdk_strategy_id":"w","is_saved":"w","model_id":"w","message_count":"w","step_count":"w","plan":"w",
            "unrooted_steps":"w","result_count":"w","dismissed_at":"w","dismissed_reason":"w","gene_set_id":"w",
            "gene_set_auto_imported":"w","messages_after":"w"}';
    """


async def downgrade(db: BaseDBAsyncClient) -> str:
    return """
        ALTER TABLE stream_projections
            DROP COLUMN unlogged, DROP COLUMN lost, DROP COLUMN messages_after, DROP COLUMN unrooted_steps;
        DROP TABLE stream_events;
        DROP TABLE deleted_ids;
    """


MODELS_STATE = (
    "eJztXX1T2zga/yqa/AOdyTGQQulxNzcDlHa5pdCBcO3ssuNVbJG4OJIryQSmy3dfSbETW7"
    "aTOLGD49PMTpdIemTn90jPu5SfLcYJRTu3DNHWEfjZwnCIxB/x5jZoQd+fNMrPHPY8NSwQ"
    "A5ga0WOcQpuLxnvoMSSaHMRs6vrcJVgOvSFD1CPOMxgNCCAjzIBN8KMgh3IEawOGOAMQOw"
    "A9+Yi6Q4Q525FzO8QWk7u4v9o0AXZ/BMjipI/4QH3d3/8QzS520BNi0Uf/wbp3keck0HAd"
    "OYFqt/izr9pub88/fFQj5Sv2LJt4wRBPR/vPfEDwZHgQuM6OpJF9fYQRhRw5Mbhw4HkhrF"
    "HT+I1FA6cBmryqM21w0D0MPAl669/3AbYlBEA9Sf6z/5/w1WLDLOvyqmvdnHUtq5XikXwF"
    "De+wSWAs+esKLCUwL+N5p4Co1pZ8wOkvx9fbb9+9URAQxvtUdSq4Wi+KEHI4JlWgT1FGTx"
    "xRDD0rC+7TAaTZcGtkGu7itRdAPMSzAOARVhWg2xrCJ8tDuM8H4mPn4GAG3P87vlaIi1EK"
    "ciI24XhrXoZdnXGfhH4KtU2RBMOCPI30B9HDxb7JRjtJqYHthKQ70R/LLPaoYQr+VKLMRP"
    "+SjLbfVLOqu+efz266x5+/yOmHjP3wFFLH3TPZ01Gtz1rr9juNI5NJwNfz7i9AfgS/XV2e"
    "6VtlMq77W0u+Eww4sTAZWdCJoxE1R00vUnzdP8S2lmzoQfthBKljJXpiK4FgTolnSbGZXg"
    "snIfXHX6+RpyRs5haTuuJ0PNEN4kvst6V5Xqo8m7aGr5jYMzF9shJQZ5N5rgXz1rlB1giW"
    "6EJwuBpQN2qOpiIkv9Pqu+6TmEVsuQavJOLLryRtu5WAuoqmaRJOUsCTDskT+emuYWeot0"
    "AM++oryWfLJ6XEedovSMr6XO9A1y3znYRrFDBJDTyXCTOe3APJKgb4AHIAhW0PqT0AbEAC"
    "zwH3gh1gW2hOl7uP6I0y+sMuTHjYjVEfqu60K1H1w4zDUXOHQ/2/gKcRjV/KxaibUFmDly"
    "H2CirozMVIGojy3u7uAiiLUbkoq74kyhTZhIbYFkBaIzNoL4Z2pAHEIs0wSP57c3WZDbdO"
    "p3vOrs3BX0oTrRX3mx/eh/Gn7bvW1u9/bB0dfWcE9+5aFXnSEqGEEx2hvf35+JvOiNOLqx"
    "NdrssJTjSmRHq3KFN0OsOUEpnCSEDtQiJpSlFKEK9WwuhgEVl0kC+KDlKSiMN+ocUejTeL"
    "vMRF7lPyiDDENrKEG4AyGNJFTzxHJWTQNmHhz4qjnn3rzubBJIx6cXX5KRquMybJA5n9CR"
    "37JPTnOAf5GIUGuHSu17gL9lYQL3354H909vYP99+/fbf/XgxRLzdpOZzBiPPLroaiyyw/"
    "6HmunRFmIcRDEOc4n3E6Dc2eIFwnnNlRhTIW7snV1UVi4Z6c6yvz9vPJmTAn1SoWg4Qjkw"
    "20yb00MPei7SSGUIbbO28fRVRmF83fRbLyIDO2kB8mi5GsECvbHGU7JzKWShcmwU0j+5FQ"
    "5Pbxr+hZ4Xsu3kMaL7kh96h6ZCMBTQXbRTOFo0msNr6axDd3kIfGS1U8H1zeXly0XvLTrx"
    "XG7ZPZxXToPpV9zI3ea/nO+cH7K4wAeoReoPIsgAa4DSCQVjMQsAdypn8Bl4MhfAY95BHc"
    "B5yIET3I7YEc2kPYHgwhfWgDQkGP8EE6aF/VQ0ywvgYiqT0jWG+CyesIb25oSqTmeRAOeZ"
    "ARGpixcicUrwysj7Aj0SsN30XWbCd/yXZSK1YKjCJhsGh8TcJglYvcSsJeSpsWlMZxmiaE"
    "uaqO704MlaI4a3QG6/lYm5hMw2Myge8syeAkpWFwTRlskgBlJQGEzw/p8xJZgCmhCWDWOI"
    "C5QbbrhkQwa4ro0iHM0+Ob0+MPZ68UwQzL/tOhy+l5gNyYZezYwWLxyvjhwSPgcgZcB2Hu"
    "8mdV4SsbyEgwfwd8lVXB9gDiPhKDxH9Y9f45fqsvlHxHKsL2Z3bMsqoHmbhlDQRR28QtX9"
    "N7m2YqCirUFKHJCxq/+P/KbTJWqLFCN9cKfdVTgvUU+CseEkxUtoaGZj6iwrDtEvHPgkd5"
    "vySmbBC8RZ2bGBB5bk4SqzkOjzVl1oK+z9fxGce4V7LFAHqU1R5A6A8Q+ICTIzkE2gME7g"
    "kVUzEOxOOcjGtZSphvBU8mRKGYHksQrdevqaUea89wYoyZUKpZbXzCyn3CDS1k2Zizva94"
    "6rRmlsEaqrJGzoMlH8lR/zlTbpy4/dw8VwbxUvmuusE+Tn39s9N5+/aws/v23fuD/cPDg/"
    "e7kxxYumtWMuzk/JNM0iSYkpkgY/BxqeL+iMwkx+Ynx4ZE+IEFNWScxsiVheTKEDEm3BQB"
    "YoAzIny5IiVF97oJ9N2VpUhpCXTGkV8YziSRwTKKQHgwI/Yw44qFcHxNKjuTB5x/vmzmAW"
    "fRJb5B4SWtkzXI4ihtfXuQcUuFSApquhRh89Td/t4C2m5/L1fZyS6t3sZUABaSJhuXynJc"
    "NnQZW4rFOm0JTK7Z9mompymCLCtBkS87s2ibJz7LP2YTXVdqKc64Q59QXtgNzp/EOMULVI"
    "xiSohURNJfKHT1T5pyJRu5Zkt/3SZx6P0yC97zrPz+jBBFirJ5oqd8y80jLEOh56/2aLxZ"
    "48uv8QB7pN/PEvCzpMyUpn4++Nbd3dbPO/UF71pHd63RXat9F89HxFq1kHmsJwrkxpqiuG"
    "O8KR4fi7VPAz2xRhm2iH1MyurEq05d6lhz3HTNbB7bObGuiRZOvHO2bk5/qVB4RR0vAtYw"
    "sLG1SXGNGAjpNZ6f1dbITL3ozPq3CK00wkVr4Ardc19PaOcWwmlrq4RbZfQKmTQfogquxb"
    "hws/QvMtShJmYuAxIVQQvUIq5yyiW2oNMlYMnVnlv8lfgJifk1X8dK/0b33APXYaoMiw8Q"
    "GBH6oM6Nx+7OAQ6irlB14J6SISCyJovJK3Mi1TBuhyBSlOmisHU80Jx/qYEKaANz/sXc21"
    "MTfCspd1KituDt4nGa+vlDG3zp8tpvFi+PAT4Ubl2Nw7ym0iwD81epNBuDifwluTAhNBxY"
    "lgPjH4CyiqpWjax5EV5TT7zp1qIPqfiLh7/dvHB9VYLKRNdX+NUISGXxzjjWU5QHGqWxLE"
    "tkDImf/1xUBiWImieByjcyN75ItkY3dpkbGhpe7GQutitjm5gDrOaei2oRXc89F9pBfy0q"
    "UPS31Rt7IUNFV9NNrwdJ5+wSV4fkpuyS95QskrOTL96nwu5xwHfSi36c2vZc4QcAG2LguM"
    "wmQua31UVyMrnmIcgQEBSIgtHAtQeCQCbcxEcaYAZcnpWrq+5BJkdXA/HdnpGjKxp1WSnc"
    "Ujf5XfVNBBv86w9CNLmPdU5XGO+n4d6PTYa+NJSWYrFGaw711JnTY7uhYKVIgqiBobcqMi"
    "3KaBPG2APKCCrk21Yamal8TaI6QJDyntApSwgqndYIqjoLqvFGQE++S2UxfGFuZ9EbjteZ"
    "47YMW3kWRQJZtqQtkj2F4Xud+Y4oJRlxzS56yom8TwiaYIrM4uTZt+7s3OuEkRdXl5+i4X"
    "pCNuUnU24JHrpFE7BpyibgX/WxSsg5Gvo8IzKRm1mKk5hriqLjwIJNS2Cpk5lUXR0u862Z"
    "DCjHNzHJzyqTn3lH64qmPxc+XFfPNVrG6Tp90a4Oqskpv8IveB0j6tqDVjpHGna0ZyRI4X"
    "TIvORoPpolJxxzdfiiFfYh61ZLNFZfX7+iCs/PL+bWMOXb9PlFTE3IMlYS2JV7qgDC4fAG"
    "oltJzbx4IkdZFav5xdoxkppUaW9OuXzK4FqnJnv5GwE8CVE="
)
