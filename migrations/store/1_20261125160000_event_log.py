"""The event log: which entry claimed a WDK strategy, and which logs are still to be removed.

The new column has no default and is null: the table is locked for a moment and not rewritten.
"""

from tortoise import BaseDBAsyncClient

RUN_IN_TRANSACTION = True


async def upgrade(db: BaseDBAsyncClient) -> str:
    return """
        SET LOCAL statement_timeout = 0;

        ALTER TABLE stream_projections ADD COLUMN wdk_event_id varchar(41);

        -- Logs of conversations and operations that are deleted here and still have to be deleted from Redis.
        CREATE TABLE log_removals (
            kind         varchar(20) NOT NULL
                CONSTRAINT log_removals_kind_check CHECK (kind IN ('stream', 'operation')),
            id           uuid NOT NULL,
            requested_at timestamptz NOT NULL DEFAULT CURRENT_TIMESTAMP,
            PRIMARY KEY (kind, id)
        );
        CREATE INDEX log_removals_oldest_idx ON log_removals (requested_at);
    """


async def downgrade(db: BaseDBAsyncClient) -> str:
    return """
        DROP TABLE log_removals;
        ALTER TABLE stream_projections DROP COLUMN wdk_event_id;
    """


MODELS_STATE = (
    "eJztXf9T2zgW/1c0+aV0JsdAgNLjbm4GKO1yS0kHwnVnv4xXsUXi4kiuJBOYLv/7Soqd2L"
    "KdxIkdHJ9mdrpE0pOdz3t6et+k/GgxTijavWOItk7AjxaGIyT+iDe3QQv6/rRRfuaw76lh"
    "gRjA1Ig+4xTaXDTeQ48h0eQgZlPX5y7BcugtGaE+cZ7BeEgAGWMGbIIfBTmUI1gbMMQZgN"
    "gB6MlH1B0hzNmunNshtpjcxYP1pgmw+z1AFicDxIfq6/72h2h2sYOeEIs++g/WvYs8J4GG"
    "68gJVLvFn33Vdnd3+eGjGilfsW/ZxAtGeDbaf+ZDgqfDg8B1diWN7BsgjCjkyInBhQPPC2"
    "GNmiZvLBo4DdD0VZ1Zg4PuYeBJ0Fv/vg+wLSEA6knyn8P/hK8WG2ZZ192edXvRs6xWikfy"
    "FTS8wyaBseSvK7CUwLxM5p0Bolpb8gHnP53e7By8e6sgIIwPqOpUcLVeFCHkcEKqQJ+hjJ"
    "44ohh6Vhbc50NIs+HWyDTcxWsvgXiIZwHAI6wqQLc1gk+Wh/CAD8XHztHRHLj/d3qjEBej"
    "FORELMLJ0rwOuzqTPgn9DGqbIgmGBXka6Q+ih4t1k412klID2wlJd6M/VhH2qGEG/kyjzE"
    "X/mox33lYj1b3Lzxe3vdPPX+T0I8a+ewqp096F7Omo1metdeedxpHpJODrZe8nID+CX7vX"
    "F/pSmY7r/dqS7wQDTixMxhZ04mhEzVHTi1Rf9w+xpSUb+tB+GEPqWImemCQQzCnxLKk207"
    "JwFlJ//PkGeUrDZi4xuVecTya6RXyF9bYyz0vVZ7PW8BUTaya2n6wF1MV0nhvBvE0ukA2C"
    "JboQHK0H1K2ao6kIye+0/qr7JGYRS67BkkR8+ZWkbbcWUN1omibhJBU86ZA8lZ/uGnVGeg"
    "vEcKC+kny2fFJKnaf9gqSuz/UO9L1lsZNwgwImqYHnMmHGk3sgWcUAH0IOoLDtIbWHgA1J"
    "4DngXrAD7Iid0+XuI3qrjP6wCxMedmM0gKo77UpU/TDjcNTc4VD/L+BpRONXcjHqplQ24G"
    "WItYIKOnMxkgaivL+3twTKYlQuyqoviTJFNqEhtgWQ1sgM2suhHe0AQkgzDJL/3navs+HW"
    "6XTP2bU5+EvtRBvF/fa792Hyaef31pvf/nhzcvKNEdz/vVWRJy0RSjjREdo7n09/0Rlxft"
    "U90/W6nOBMY0q07xZlik5nmFIiUxgJqF1IJc0oSgni1UoZHS2ji47yVdFRShNxOCgk7NF4"
    "I+QlCrlPySPCENvIEm4AymBIDz3xnC0hg7YJgj8vjnrxS28+D6Zh1Kvu9adouM6YJA9k9i"
    "d07JPQX+Ic5GMUGuDSud7gKthfQ70M5IP/0dk/PD58f/Du8L0Yol5u2nI8hxGX1z0NRZdZ"
    "ftD3XDsjzEKIhyDOcT7jdBqafUG4STizowplCO5Zt3uVENyzS10y7z6fXQhzUkmxGCQcmW"
    "ygTe6lgbkXbSUxhDLc3kXrKKIyq2jxKpKVB5mxhfwwWYxkjVjZ9my2CyJjqXRhEtw0sh8J"
    "Re4A/4yeFb6X4j2k8ZIbco+qR7YS0FSwXTRTOJ7GauPSJL65gzw0EVXxfHB9d3XVeslPv1"
    "YYt09mF9Oh+1T2MTd6r+U7FwfvuxgB9Ai9QOVZAA1wG0AgrWYgYA/kTP8CLgcj+Az6yCN4"
    "ADgRI/qQ20M5tI+wPRxB+tAGhII+4cN00L6qh5hgfQ1UUntOsN4EkzcR3tzSlEjN8yAc8i"
    "AjNDBHcqcUrwysj7Aj0SsN32VktpMvsp2UxEqFUSQMFo2vSRiscpVbSdhL7aYFtXGcpglh"
    "rqrju1NDpSjOGp3BejHWJibT8JhM4DsrMjhJaRhcUwabJEBZSQDh80P6vEIWYEZoApg1Dm"
    "Buke26JRHMmiK6cgjz/PT2/PTDxStFMMOy/3TocnYeIDdmGTt2sFy8Mn548AS4nAHXQZi7"
    "/FlV+MoGMhbM3wVfZVWwPYR4gMQg8R9WvX9O3uoLJd+QirD9mR2zrOpBJm5ZA0XUNnHL1/"
    "TeZpmKghtqitDkBY1f/H/lNhkr1Fih22uFvuopwXoq/DUPCSYqW0NDMx9RYdj2iPhnyaO8"
    "XxJTNgjeos5NDIg8NyeJ1QKHx5oxa0nf5+vkjGPcK3nDAHqU1R5A7B8g8AEnJ3IItIcI3B"
    "MqpmIciMc5GdeylDDfGp5MiEKxfSxBtFm/ppb7WHuOE2PMhFLNauMTVu4Tbmkhy9ac7X3F"
    "U6c1sww2UJU1dh4s+UiOBs+ZeuPMHeTmuTKIV8p31Q32Serrn53OwcFxZ+/g3fujw+Pjo/"
    "d70xxYumteMuzs8pNM0iSYks7aSDCVVVNQfet0zRP8w/0l5P5wP1fsZVcqGcng40oHKSIy"
    "k4hcnIgcEeFzFxTnOE3zRLkSHT5CjAmXUIAY4Ixoaq76TtG9brHC3toau7RiBcaRXxjOJJ"
    "HBMor2eDAjzjPnOotwfE2qaJOHyX+8bOdhctElvkFhkdbJGmTdlSbfHmR8JcMtRdi87a58"
    "y81UWzY8bei4bOQythKLddoSmFyz5dVMTlMEWVYyKF93ZtE2T32Wf6QpuhrWUpxxRz6hvL"
    "AbnD+JcYoXO8VT9IolPTQyU040tzwiQiuNcNESiULXINcT2oV1EppslXDpgJ5ATfMhSvAv"
    "x4XblS/srkPKdCEDEgnjJUpV1imCjgl0ukIgKe25tQGJG8YXlwScKrc9ugYZuA5TWXo+RG"
    "BM6IM6Vhi7WgE4iLqPyAH3lIwAkSl7Jm9UiHaaSTsEUeohXTOwiQea8ugabAFtYMqjzbUO"
    "NcG3kmy4UrUFL5+N09QyjLqtd3Ju/OLZ8hjgQ8ZRjT1TU4iQgfmrFSKoXNZqXJgSGg6syo"
    "HJ74NYRbdWjayB8TBTbrbl1qIPqfiLhz/tuXRKOEG1lkVTM8g3bcAIJGW+cRLrKcoDjdJY"
    "liUyhsSPBy2rgxJEzdNA5RuZW1/XU6MLXcwB3obnZ829R2UsE3O+yRyDrhbRzRyD1s6BZp"
    "/aXfqndxt7Xreim4tmp8fTObvEyfLclF3yGPsyOTv54gMq7B4HfCP96LdLbc8VfgCwIQaO"
    "y2widH5b3TMkk2seggwBQYEoGA9deygIZMJNfKQBZsDlWbm66h5kcnQ1UN/tOTm6olGXtc"
    "ItddPfVR9U3eLLwYVqch/rnK4w3k/DvR+bjHxpKK3EYo3W1CHXmdMTu6Hoqds4UQNDb1Vk"
    "WpTRJoyxB5QRVMi3rTQyU/maRHWIIOV9saesoKh0WqOo6qyoJgsBPfmumHQFbmfRG47Xme"
    "O2DFt5FkUCWbaiLZI9heF7nfmOKCUZcc38H3yeEjTBFJnHySp+5Vl4vZRbgodu0QRsmrIJ"
    "+Fd9hhdyjkY+z4hM5GaW4iTmZoXo3g/BphWw1MlMqq4Odz3WTAeU45uY5GeVyc+8o3VF05"
    "9LH66rp4yWcbpOF9r1QTU55Vf4gZdTRF172ErnSMOO9pwEKZwNWZQczUez5IRj7h6+bIV9"
    "yLr1Eo3V19evuYXn5xdza5jybfr8IqYmZBkrCezKNVUA4XB4A9GtpGZePJGjrIrV/GLtGE"
    "lNqrS3p1w+ZXBtcid7+Rsj7yKj"
)
