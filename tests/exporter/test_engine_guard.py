"""Attempts to make a reader of the embedded store do more than read the store: each is refused and leaves no trace."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from engine_process import EngineProcess

TARGET = "/etc/hostname"  # a file that exists, of which nothing may come back

FILES_AS_TABLES = """
SELECT * FROM file('/etc/hostname')
SELECT * FROM FILE('/etc/hostname', 'LineAsString')
SELECT * FROM `file`('/etc/hostname')
SELECT * FROM '/etc/hostname'
SELECT * FROM default.`/etc/hostname`
SELECT * FROM `default`.`/etc/hostname`
SELECT * FROM one, default.`/etc/hostname`
SELECT * FROM {t:Identifier}
SELECT * FROM {d:Identifier}.{t:Identifier}
SELECT * FROM analytics.{t:Identifier}
SELECT 'x' IN default.`/etc/hostname`
SELECT 'x' GLOBAL NOT IN default.`/etc/hostname`
SELECT in('x', default.`/etc/hostname`)
SELECT EXISTS(SELECT * FROM default.`/etc/hostname`)
SELECT (SELECT 1 FROM default.`/etc/hostname`)
WITH x AS (SELECT * FROM file('/etc/hostname')) SELECT * FROM x
SELECT 1 UNION ALL SELECT * FROM file('/etc/hostname')
SELECT 1 EXCEPT SELECT * FROM file('/etc/hostname')
SELECT * FROM analytics.t AS a JOIN file('/etc/hostname') AS b ON 1 = 1
SELECT * FROM view(SELECT * FROM file('/etc/hostname'))
SELECT * FROM (EXPLAIN SELECT file('/etc/hostname'))
SELECT * FROM viewExplain('EXPLAIN', '', (SELECT 1))
SELECT * FROM eval('SELECT 1')
SELECT * FROM loop(analytics.t) LIMIT 1
SELECT * FROM merge('default', '.*')
SELECT * FROM filesystem('/etc')
SELECT * FROM sqlite('/tmp/x', 't')
SELECT * FROM python(os)
SELECT * FROM Python(os)
DESCRIBE file('/etc/hostname')
DESCRIBE TABLE default.`/etc/hostname`
DESCRIBE (SELECT file('/etc/hostname'))
SHOW CREATE TABLE default.x
SHOW TABLES FROM default
"""
FILES_AS_FUNCTIONS = """
SELECT file('/etc/hostname')
SELECT `file`('/etc/hostname')
SELECT arrayMap(x -> file(x), ['/etc/hostname'])
SELECT arrayMap(file, ['/etc/hostname'])
SELECT arrayMap(`file`, ['/etc/hostname'])
SELECT mapApply(file, map('a', '/etc/hostname'))
WITH file AS g SELECT arrayMap(g, ['/etc/hostname'])
WITH (x -> file(x)) AS g SELECT g('/etc/hostname')
SELECT * APPLY file FROM (SELECT '/etc/hostname')
SELECT * APPLY(x -> file(x)) FROM (SELECT '/etc/hostname')
SELECT COLUMNS('.*') APPLY file FROM (SELECT '/etc/hostname' AS p)
SELECT * REPLACE(file(p) AS p) FROM (SELECT '/etc/hostname' AS p)
SELECT 1 ORDER BY file('/etc/hostname')
SELECT 1 LIMIT 1 BY file('/etc/hostname')
SELECT 1 LIMIT (SELECT length(file('/etc/hostname')))
SELECT number FROM numbers(3) ORDER BY number WITH FILL FROM length(file('/etc/hostname'))
SELECT 1 AS a ORDER BY a WITH FILL FROM 1 TO 3 INTERPOLATE (a AS length(file('/etc/hostname')))
SELECT 1 GROUP BY file('/etc/hostname')
SELECT 1 HAVING length(file('/etc/hostname'))
SELECT 1 QUALIFY length(file('/etc/hostname'))
SELECT sum(1) OVER (PARTITION BY file('/etc/hostname'))
SELECT sum(1) OVER w FROM numbers(1) WINDOW w AS (ORDER BY file('/etc/hostname'))
SELECT DISTINCT ON (file('/etc/hostname')) 1
SELECT 1 FROM analytics.t PREWHERE length(file('/etc/hostname'))
SELECT * FROM numbers(1, (SELECT length(file('/etc/hostname'))))
SELECT * FROM values('a String', (file('/etc/hostname')))
EXPLAIN SELECT file('/etc/hostname')
SELECT {t:Identifier}('/etc/hostname')
"""
OTHER_WAYS_OUT = """
SELECT 1 INTO OUTFILE '@out'
SELECT 1 INTO OUTFILE '@out' TRUNCATE FORMAT TSV
(SELECT 1) INTO OUTFILE '@out'
SELECT 1 UNION ALL SELECT 2 INTO OUTFILE '@out'
SELECT 1 INTO OUTFILE '@out' AND STDOUT
INSERT INTO FUNCTION file('@out') SELECT 1
EXPLAIN AST INSERT INTO FUNCTION file('@out') SELECT 1
BACKUP TABLE analytics.t TO File('@out')
SELECT * FROM url('http://127.0.0.1:9/')
SELECT * FROM remote('127.0.0.1:9', system.one)
SELECT * FROM cluster('default', system.one)
SELECT * FROM s3('http://127.0.0.1:9/x')
SELECT * FROM mysql('127.0.0.1:9', 'd', 't', 'u', 'p')
SELECT * FROM executable('id', TSV, 'x String')
SELECT hasColumnInTable('127.0.0.1:9', 'u', 'p', 'd', 't', 'c')
SELECT aiGenerate('x')
SELECT AIGenerate('x')
SELECT joinGet('x', 'y', 1)
SELECT dictGet('x', 'y', 1)
SELECT catboostEvaluate('/etc/hostname', 1)
SELECT addressToLine(1)
SELECT showCertificate()
SELECT getServerSetting('path')
SELECT getMacro('x')
SELECT sleep(3)
SELECT * FROM system.query_log
SELECT * FROM system.zookeeper
SELECT * FROM system.server_settings
SELECT 1 IN system.users
SELECT 1 FORMAT Template
EXPLAIN TABLE OVERRIDE mysql('h', 'd', 't', 'u', 'p') COLUMNS (a UInt8)
"""
CHANGES = """
INSERT INTO analytics.t VALUES (2)
INSERT INTO analytics.t FORMAT CSV
CREATE TABLE analytics.x (a UInt8) ENGINE = Memory
CREATE TEMPORARY TABLE x (a UInt8)
CREATE FUNCTION f AS x -> x
CREATE DATABASE x
ATTACH TABLE x
DETACH TABLE analytics.t
DROP TABLE analytics.t
TRUNCATE TABLE analytics.t
RENAME TABLE analytics.t TO analytics.u
ALTER TABLE analytics.t DELETE WHERE 1
DELETE FROM analytics.t WHERE 1
OPTIMIZE TABLE analytics.t
SYSTEM FLUSH LOGS
SYSTEM SHUTDOWN
SET max_threads = 1
SET readonly = 0
USE default
KILL QUERY WHERE 1
GRANT ALL ON *.* TO default
BEGIN TRANSACTION
SELECT 1 SETTINGS max_threads = 4
SELECT * FROM (SELECT 1 SETTINGS readonly = 0)
SELECT 1 PARALLEL WITH SELECT 2
SELECT 1; SELECT 2
SELECT 1; DROP TABLE analytics.t
"""
TOO_MUCH = """
SELECT sum(sipHash64(number)) FROM numbers(100000000000)
SELECT groupArray(number) FROM numbers(1000000000)
SELECT arrayJoin(range(1000000)) FROM numbers(1000)
SELECT number, repeat('x', 1000) FROM numbers(1000000)
WITH RECURSIVE x AS (SELECT 1 AS n UNION ALL SELECT n + 1 FROM x) SELECT count() FROM x
"""
ALLOWED = """
SELECT count() FROM t
SELECT 1 /* ; */ ; -- DROP TABLE analytics.t
(SELECT 1)
FROM t SELECT a
SHOW TABLES
DESCRIBE TABLE t
SHOW CREATE TABLE t FORMAT TSVRaw
EXPLAIN SYNTAX SELECT 1
SELECT * FROM t FORMAT JSONEachRow
SELECT 'file', a AS path FROM t WHERE a IN (SELECT a FROM t)
WITH x AS (SELECT a FROM t) SELECT count() FROM t WHERE a IN x
SELECT sumIf(a, a > 0), quantilesTDigestWeightedIf(0.5)(a, a, a > 0), uniqExactOrNull(a), countDistinct(a) FROM t
SELECT topKWeighted(3)(a, a), argMax(a, a), sumMap(map('k', a)), windowFunnel(10)(toDateTime(a), a = 1) FROM t
SELECT lagInFrame(a) OVER (ORDER BY a ROWS BETWEEN 1 PRECEDING AND CURRENT ROW), row_number() OVER (ORDER BY a) FROM t
SELECT CASE WHEN a = 1 THEN 'a' ELSE 'b' END, if(1, 2, 3), 1 BETWEEN 0 AND 2, 'x' LIKE '%x', a || 'x' FROM t
SELECT extract(year FROM now()), date_trunc('day', now()), now() - INTERVAL 1 DAY, toStartOfHour(now()), today()
SELECT arrayMap(x -> x + 1, [1]), arrayMap(lower, ['A']), map('a', 1)['a'], (1, 2).1, JSONExtractString('{}', 'a')
SELECT domain('http://x/y'), cutQueryString('x?y'), splitByChar('/', 'a/b'), hex(sipHash64('x')), formatReadableSize(1)
SELECT a, count() FROM t GROUP BY ALL WITH TOTALS ORDER BY a LIMIT 10 OFFSET 0
SELECT * EXCEPT (a), COLUMNS('a') APPLY(sum) FROM t GROUP BY a
SELECT name FROM system.columns WHERE table = 't'
SELECT user, count() AS path FROM (SELECT a AS user FROM t) GROUP BY user ORDER BY user, path
"""


def lines(text: str) -> list[str]:
    return text.strip().splitlines()


@pytest.fixture(scope="module")
def engine(tmp_path_factory: pytest.TempPathFactory) -> Iterator[EngineProcess]:
    limits = {"reader_max_execution_s": 1, "reader_max_result_bytes": 1 << 20, "reader_max_memory_bytes": 200_000_000}
    process = EngineProcess(tmp_path_factory.mktemp("guard"), **limits)
    client = process.client()
    client.command("CREATE DATABASE analytics ENGINE = Atomic")
    client.command("CREATE TABLE analytics.t (a UInt32) ENGINE = MergeTree ORDER BY a")
    client.insert("analytics.t", [[1]], column_names=["a"])
    yield process
    assert client.query("SELECT a FROM analytics.t").result_rows == [(1,)]  # nothing above changed anything
    assert process.stop() == 0


def refused(engine: EngineProcess, sql: str, **parameters: str) -> str:
    code, body = engine.ask(sql, param_t=TARGET, param_d="default", **parameters)
    assert code, f"{sql} was answered: {body[:100]}"
    host = Path(TARGET).read_text().strip()
    assert f"'{host}" not in body
    return body


@pytest.mark.parametrize("sql", lines(FILES_AS_TABLES) + lines(FILES_AS_FUNCTIONS))
def test_a_reader_cannot_read_a_file(engine: EngineProcess, sql: str) -> None:
    refused(engine, sql)


@pytest.mark.parametrize("database", ["default", "DEFAULT", "`default`", "default`", "system", "information_schema"])
def test_a_reader_cannot_go_where_file_names_are_tables(engine: EngineProcess, database: str) -> None:
    refused(engine, "SELECT * FROM `/etc/hostname`", database=database)


@pytest.mark.parametrize("sql", lines(OTHER_WAYS_OUT))
def test_a_reader_cannot_write_a_file_or_open_a_connection(engine: EngineProcess, tmp_path: Path, sql: str) -> None:
    refused(engine, sql.replace("@out", str(tmp_path / "out")))
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("sql", lines(CHANGES))
def test_a_reader_cannot_change_anything(engine: EngineProcess, sql: str) -> None:
    refused(engine, sql)
    assert engine.ask("SELECT a FROM t") == (0, "1\n")


def test_a_statement_in_two_halves_is_judged_as_one(engine: EngineProcess) -> None:
    refused(engine, "\n2", query="INSERT INTO analytics.t FORMAT CSV")
    refused(engine, "; DROP TABLE analytics.t", query="SELECT 1")
    refused(engine, "SELECT 1\x00; DROP TABLE analytics.t")


@pytest.mark.parametrize("sql", lines(TOO_MUCH))
def test_a_reader_cannot_take_more_than_its_share(engine: EngineProcess, sql: str) -> None:
    refused(engine, sql)
    assert engine.ask("SELECT 1") == (0, "1\n")


@pytest.mark.parametrize("depth", [200, 900, 5000])
def test_deep_nesting_is_refused_not_fatal(engine: EngineProcess, depth: int) -> None:
    engine.ask("SELECT " + "(" * depth + "1" + ")" * depth)
    refused(engine, "(SELECT " * depth + "file('/etc/hostname')" + ")" * depth)
    refused(engine, "SELECT " + "[" * depth)
    assert engine.ask("SELECT 1") == (0, "1\n")


@pytest.mark.parametrize("sql", lines(ALLOWED))
def test_what_analysis_needs_is_allowed(engine: EngineProcess, sql: str) -> None:
    assert engine.ask(sql)[0] == 0, engine.ask(sql)[1]


def test_functions_that_reach_out_stay_closed_also_in_a_newer_engine(engine: EngineProcess) -> None:
    suspicious = (
        "file|dict|^ai[A-Z]|remote|python|catboost|joinGet|columnInTable|sleep|execut|setting|macro|certif|addressTo"
    )
    names = engine.ask(
        "SELECT name FROM system.functions WHERE NOT is_aggregate AND match(name, {pattern:String})",
        param_pattern=f"(?i){suspicious}",
    )[1].split()
    assert "file" in names
    assert [name for name in names if engine.ask(f"SELECT `{name}`('x')")[0] != 164] == []
