"""Where the raw customers come from, and that a landing never harms what the lake holds."""

import hashlib
import http.server
import json
import threading
import time
from pathlib import Path

import pytest

from tests.conftest import CUSTOMER, customer

# One worker: its session and the module that it imports serve all tests of the group.
pytestmark = [pytest.mark.slow, pytest.mark.xdist_group("data")]

REAL_ROWS = 7043


@pytest.fixture
def data(monkeypatch):
    """The exported script as a module; nobody names a file, and no test asks the real network."""
    monkeypatch.delenv("CHURNLAB_RAW_CSV", raising=False)
    monkeypatch.setenv("CHURNLAB_DOWNLOAD_URL", "http://127.0.0.1:9/nobody-listens.csv")
    return pytest.importorskip("churn.landing")


@pytest.fixture
def land(spark, data, lake, monkeypatch):
    """Land in the test's lake; generated rows are few and cheap, their text names their seed."""

    def generate(spark, rows, seed):
        values = [(*customer(n, gender="Male").values(),) for n in range(rows)]
        return spark.createDataFrame(values, list(CUSTOMER)).coalesce(1)

    def run(source="auto", rows=5, seed=1, run_id="a-run", **options):
        return data.land_customers(spark, str(lake), run_id, source, rows, seed, **options)

    monkeypatch.setattr(data, "generate_customers", generate)
    return run


@pytest.fixture
def serve(monkeypatch):
    """Serve a text at the address that the download asks; ``pause`` seconds between 20 pieces."""
    servers = []

    def start(text: str, pause: float = 0):
        class Answer(http.server.BaseHTTPRequestHandler):
            def do_GET(self):
                self.send_response(200)
                self.end_headers()
                pieces = [text] if not pause else [text[n::20] for n in range(20)]
                try:
                    for piece in pieces:
                        self.wfile.write(piece.encode())
                        time.sleep(pause)
                except OSError:
                    pass  # the reader has given up, as it should

            def log_message(self, *arguments):
                pass

        server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Answer)
        threading.Thread(target=server.serve_forever, daemon=True).start()
        servers.append(server)
        url = f"http://127.0.0.1:{server.server_port}/customers.csv"
        monkeypatch.setenv("CHURNLAB_DOWNLOAD_URL", url)

    yield start
    for server in servers:
        server.shutdown()
        server.server_close()


def csv_text(rows: int, columns: list[str] | None = None) -> str:
    """Return raw customers as the text of a file."""
    columns = columns or list(CUSTOMER)
    lines = [",".join(customer(n)[c] for c in columns) for n in range(rows)]
    return "\n".join([",".join(columns), *lines]) + "\n"


def csv_file(folder: Path, name: str, rows: int) -> Path:
    """Write raw customers to a file outside the lake."""
    path = folder / name
    path.write_text(csv_text(rows), encoding="utf-8")
    return path


def holds(spark, library, lake: Path) -> int:
    """Return how many customers the next step would read."""
    return library.contract.read_raw(spark, str(lake / "raw" / "customers")).count()


def landings(lake: Path) -> list[Path]:
    """Return the attempts at a landing, finished or not, oldest first."""
    return sorted((lake / "raw" / "customers").glob("_landings/attempt=*"))


def provenance(lake: Path) -> dict:
    """Return what the lake says to people about its raw data."""
    return json.loads((lake / "raw" / "customers_source.json").read_text(encoding="utf-8"))


def test_the_variable_comes_first(land, lake, tmp_path, monkeypatch, serve):
    serve(csv_text(REAL_ROWS))
    land("synthetic")
    named = csv_file(tmp_path, "mine.csv", 7)
    monkeypatch.setenv("CHURNLAB_RAW_CSV", str(named))
    facts = land()
    landed = (landings(lake)[-1] / "customers.csv").read_bytes()
    assert landed == named.read_bytes(), "a file lands byte for byte"
    assert facts["sha256"] == hashlib.sha256(landed).hexdigest()
    assert (facts["source"], facts["rows"]) == ("CHURNLAB_RAW_CSV", 7)
    assert "mine.csv" in facts["label"] and str(tmp_path) not in facts["label"]
    assert provenance(lake) == facts


def test_the_lake_comes_second(land, lake, tmp_path, serve):
    serve(csv_text(REAL_ROWS))
    before = land(str(csv_file(tmp_path, "mine.csv", 7)))
    assert land() == before == provenance(lake)


def test_a_file_put_into_the_lake_by_hand_is_kept(land, lake, serve):
    serve(csv_text(REAL_ROWS))
    folder = lake / "raw" / "customers"
    folder.mkdir(parents=True)
    csv_file(folder, "anything.csv", 3)
    facts = land()
    assert (facts["source"], facts["rows"]) == ("lake", 3)
    assert provenance(lake) == facts
    assert [path.name for path in folder.iterdir()] == ["anything.csv"]


def test_the_download_comes_third(spark, library, land, lake, serve):
    serve(csv_text(REAL_ROWS))
    facts = land()
    assert (facts["source"], facts["rows"]) == ("download", REAL_ROWS)
    assert holds(spark, library, lake) == REAL_ROWS


def test_the_generator_comes_last(spark, library, land, lake, capsys):
    facts = land(rows=4, seed=9)
    assert (facts["source"], facts["rows"], facts["seed"]) == ("generator", 4, 9)
    assert "GENERATED" in facts["label"]
    assert "No download, so we generate" in capsys.readouterr().out
    assert holds(spark, library, lake) == 4


@pytest.mark.parametrize(
    "text",
    [
        pytest.param(csv_text(REAL_ROWS - 1), id="a row less"),
        pytest.param(csv_text(REAL_ROWS, list(CUSTOMER)[:-1]), id="a column less"),
        pytest.param("<html>Sign in to this wireless network</html>", id="not the file"),
        pytest.param("", id="empty"),
    ],
)
def test_a_wrong_download_is_refused(land, serve, text):
    serve(text)
    assert land()["source"] == "generator"


def test_a_slow_download_is_given_up(data, land, serve, monkeypatch):
    """A byte now and then must not reset the clock: the whole file would come in 10 seconds."""
    serve(csv_text(REAL_ROWS), pause=0.5)
    monkeypatch.setattr(data, "DOWNLOAD_SECONDS", 1)
    waited = []
    copy_file = data.copy_file

    def timed(*arguments):
        started = time.monotonic()
        try:
            return copy_file(*arguments)
        finally:
            waited.append(time.monotonic() - started)

    monkeypatch.setattr(data, "copy_file", timed)
    assert land()["source"] == "generator"
    assert waited[0] > 0.9, "it was given up before its time"


def test_ten_seconds_of_patience(data):
    assert data.DOWNLOAD_SECONDS == 10


def test_who_insists_on_real_data_gets_it_or_an_error(data, land, lake, serve):
    land("synthetic")
    before = provenance(lake)
    with pytest.raises(data.StepError, match="CHURNLAB_RAW_CSV"):
        land("real")
    assert provenance(lake) == before
    serve(csv_text(REAL_ROWS))
    facts = land("real")
    assert facts["source"] == "download"
    serve("gone")
    assert land("real") == facts, "what a download landed is kept"


def test_another_explicit_source_replaces_what_is_there(spark, library, land, lake, tmp_path):
    land(str(csv_file(tmp_path, "mine.csv", 7)))
    facts = land("synthetic", rows=4)
    assert facts["source"] == "generator" and holds(spark, library, lake) == 4
    facts = land(str(csv_file(tmp_path, "other.csv", 6)))
    assert facts["source"].endswith("other.csv") and holds(spark, library, lake) == 6


def test_generated_data_is_kept_while_rows_and_seed_agree(data, land, serve, monkeypatch):
    first = land("synthetic", rows=4, seed=1)
    serve(csv_text(REAL_ROWS))
    made = []
    generate = data.generate_customers
    monkeypatch.setattr(data, "generate_customers", lambda *a: made.append(a[1:]) or generate(*a))
    assert land(rows=4, seed=1) == first and made == []
    assert land(rows=6, seed=1)["rows"] == 6
    assert land(rows=6, seed=2)["seed"] == 2
    assert made == [(6, 1), (6, 2)]


@pytest.mark.parametrize(
    ("text", "complaint"),
    [
        (None, "Can't read"),
        ("", "it is empty"),
        (csv_text(0), "0 customers"),
        (csv_text(2, list(CUSTOMER)[:-1]), "lacks Churn"),
    ],
    ids=["missing", "empty", "header only", "a column less"],
)
def test_a_failed_landing_leaves_the_old_data(
    spark, library, data, land, lake, tmp_path, text, complaint
):
    before = land("synthetic", rows=4)
    bad = tmp_path / "bad.csv"
    if text is not None:
        bad.write_text(text, encoding="utf-8")
    with pytest.raises(data.StepError, match=complaint) as caught:
        land(str(bad))
    assert "bad.csv" in str(caught.value)
    assert holds(spark, library, lake) == 4 and provenance(lake) == before
    assert len(landings(lake)) == 1


def test_a_generator_that_fails_leaves_the_old_data(spark, library, data, land, lake, monkeypatch):
    land("synthetic", rows=4)

    def fail(spark, rows, seed):
        return spark.range(3).selectExpr(
            "cast(raise_error('the disk is full') AS string) AS customerID"
        )

    monkeypatch.setattr(data, "generate_customers", fail)
    with pytest.raises(Exception, match="the disk is full"):
        land("synthetic", rows=9)
    assert holds(spark, library, lake) == 4


class Killed(BaseException):
    """The process is gone: it neither goes on nor cleans up."""


def die_at(monkeypatch, modules, point: int) -> list:
    """Let every access to the lake's files fail from one on; return the accesses before it."""
    done = []
    filesystem = modules[0].filesystem

    def until_killed(uri):
        if len(done) == point:
            raise Killed(uri)
        done.append(uri)
        return filesystem(uri)

    for module in modules:
        monkeypatch.setattr(module, "filesystem", until_killed)
    return done


def seen(library, lake: Path) -> tuple[int, int]:
    """Return how many customers a reader finds, and how many the facts beside them name."""
    place = library.contract.newest_landing(str(lake / "raw" / "customers"))
    lines = [
        len(Path(file).read_text().splitlines()) - 1 for file in library.contract.raw_files(place)
    ]
    return sum(lines), library.contract.provenance(place)["rows"]


@pytest.mark.parametrize("first", ["a landing", "by hand"])
def test_a_reader_finds_the_old_or_the_new_customers_at_every_kill_point(
    spark, library, data, land, lake, tmp_path, monkeypatch, first
):
    if first == "by hand":
        (lake / "raw" / "customers").mkdir(parents=True)
        csv_file(lake / "raw" / "customers", "mine.csv", 4)
        land()
    else:
        land(str(csv_file(tmp_path, "old.csv", 4)))
    new = str(csv_file(tmp_path, "new.csv", 6))
    counted = data.count_customers(spark, new, new)
    monkeypatch.setattr(data, "count_customers", lambda spark, folder, *rest: counted)
    found, point, finished = [], 0, False
    while not finished:
        with monkeypatch.context() as patch:
            done = die_at(patch, (library.lake, library.contract, data), point)
            try:
                land(new)
                finished = True
            except Killed:
                assert len(done) == point
        found.append(seen(library, lake))
        point += 1
    assert point > 10 and set(found) == {(4, 4), (6, 6)}
    assert found == sorted(found), "what has landed once stays landed"
    assert holds(spark, library, lake) == 6


def test_who_asked_before_a_landing_still_finds_the_customers_of_before(
    spark, library, land, lake, tmp_path
):
    land(str(csv_file(tmp_path, "mine.csv", 4)))
    asked_before = library.contract.read_raw(spark, str(lake / "raw" / "customers"))
    land(str(csv_file(tmp_path, "other.csv", 6)))
    assert asked_before.count() == 4
    assert holds(spark, library, lake) == 6


def test_a_day_later_the_next_landing_sweeps_what_nobody_reads_any_more(land, lake, tmp_path):
    mine, day = str(csv_file(tmp_path, "mine.csv", 4)), 24 * 3600 * 10**9
    for days in (3, 2):
        land(mine)
        landed = landings(lake)[-1]
        landed.rename(landed.with_name(f"attempt={time.time_ns() - days * day}-000000"))
    killed = landed.with_name(f"attempt={time.time_ns() - 2 * day}-killed")
    killed.mkdir()
    csv_file(killed, "customers.csv", 9)
    old, kept, _ = landings(lake)
    land(mine)
    assert not old.exists() and not killed.exists()
    assert kept.exists() and len(landings(lake)) == 2


def test_a_file_by_hand_is_left_alone_and_named_when_something_has_landed(
    spark, library, land, lake, tmp_path, capsys
):
    land("synthetic", rows=6)
    mine = csv_file(lake / "raw" / "customers", "mine.csv", 4)
    assert land(rows=6)["source"] == "generator"
    assert "No step reads mine.csv in " in capsys.readouterr().out
    assert holds(spark, library, lake) == 6
    assert land(str(mine))["rows"] == 4 and mine.exists()
    assert holds(spark, library, lake) == 4


def test_a_lake_that_an_older_version_filled_is_read(spark, library, land, lake):
    folder = lake / "raw" / "customers"
    folder.mkdir(parents=True)
    csv_file(folder, "customers.csv", 3)
    facts = {"source": "download", "label": "3 customers", "rows": 3, "sha256": None, "seed": None}
    (folder / "_source.json").write_text(json.dumps(facts))
    assert holds(spark, library, lake) == 3
    assert land("real") == facts == library.contract.provenance(str(folder))


# Parquet


def test_generated_parquet_is_read_as_the_same_customers_in_csv_are(spark, library, land, lake):
    rows = []
    for output_format in ("csv", "parquet"):
        land("synthetic", rows=6, output_format=output_format)
        raw = library.contract.read_raw(spark, str(lake / "raw" / "customers"))
        rows.append(sorted(library.contract.clean(library.contract.judge(raw)).collect()))
    assert list(landings(lake)[-1].glob("*.parquet")) and len(rows[0]) == 6
    assert rows[0] == rows[1]


def test_parquet_with_other_columns_breaks_the_contract(spark, library, tmp_path):
    folder = str(tmp_path / "raw")
    spark.range(1).withColumnRenamed("id", "customerID").write.parquet(folder)
    with pytest.raises(
        library.programs.DataContractError, match=r"breaks the data contract.*Churn"
    ):
        library.contract.read_raw(spark, folder)


def test_only_who_asks_for_generated_customers_gets_parquet(data, land, tmp_path):
    for source in (str(csv_file(tmp_path, "mine.csv", 4)), "auto", "real"):
        with pytest.raises(data.StepError, match="--source synthetic"):
            land(source, output_format="parquet")
    with pytest.raises(data.StepError, match="csv or parquet"):
        land(output_format="orc")


def test_a_lake_with_spaces_and_umlauts(spark, library, data, tmp_path, land):
    lake = tmp_path / "mein See ü"
    for rows in (4, 6):
        data.land_customers(spark, str(lake), "a-run", "synthetic", rows, 1)
        assert holds(spark, library, lake) == rows


@pytest.mark.real_data
def test_the_real_file_lands_as_it_is(spark, library, data, lake, real_csv, monkeypatch):
    monkeypatch.setenv("CHURNLAB_RAW_CSV", str(real_csv))
    facts = data.land_customers(spark, str(lake), "a-run", "real", 10, 1)
    assert facts["rows"] == REAL_ROWS == holds(spark, library, lake)
    assert (landings(lake)[-1] / "customers.csv").read_bytes() == real_csv.read_bytes()
