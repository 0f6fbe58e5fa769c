"""The limit of scoring: the forest that the course scores with, as one ONNX file, in one process.

It reads the waiting customers and writes a probability for each. It judges no row and gives no
reason, so it is what scoring can't beat, and not another way to do it.
"""

import time
from pathlib import Path

import pandas as pd
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.dataset as ds
import pyarrow.parquet as pq

from benchmarks.alone import onnx_of, onnx_session
from churnlab.run.library import library

BATCH = 65_536  # customers
ANSWER = pa.schema([("customer_id", pa.string()), ("churn_probability", pa.float64())])


def cleaned(batch: pa.RecordBatch) -> pd.DataFrame:
    """Return raw customers as the forest's columns want them: text, and amounts as numbers."""
    contract, columns = library.contract, {}
    for raw_name in batch.schema.names:
        name, values = contract.snake_case(raw_name), batch.column(raw_name).cast(pa.string())
        if name in contract.AMOUNTS:
            text = pc.fill_null(pc.utf8_trim_whitespace(values), "")  # nobody has paid yet
            values = pc.if_else(pc.equal(text, ""), "0", text).cast(pa.float64())
        columns[name] = values.to_pandas()
    return pd.DataFrame(columns)


def score(lake: str, target: str) -> dict:
    """Score the waiting customers by ONNX Runtime and write the probabilities; return figures."""
    started = time.monotonic()
    content, columns = onnx_of(lake)
    session = onnx_session(content)
    loaded = time.monotonic()
    count, total = 0, 0.0
    waiting = ds.dataset(f"{lake}/waiting", format="parquet")
    with pq.ParquetWriter(Path(target) / "probabilities.parquet", ANSWER) as out:
        for batch in waiting.to_batches(batch_size=BATCH):
            customers = cleaned(batch)
            x = library.forest.as_numbers(customers, columns)
            p = session.run(None, {"features": x})[0].ravel()
            out.write_table(pa.table([customers["customer_id"], p], schema=ANSWER))
            count, total = count + len(p), total + float(p.sum())
    return {
        "load_seconds": round(loaded - started, 2),
        "work_seconds": round(time.monotonic() - loaded, 2),
        "predictions": count,
        "mean_probability": total / count,
    }
