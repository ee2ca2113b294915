"""What a reader may run: one SELECT over the store's own tables, judged on the engine's own syntax tree.

The embedded engine has no users, and its SQL can read and write files and open connections, even in read-only mode
(spec/store.md §1.4). So a statement is parsed by the engine (`parseQueryToJSON`, which takes it as a string and runs
nothing), and every node of the tree must be known: kinds of nodes, functions, table functions and tables are
allow-lists. What a newer engine adds is refused until somebody has looked at it.

The second line of defence is the connection itself: readonly=1, limits on time, memory and result (lanes.py).
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Mapping
from typing import Any, NamedTuple, Protocol

from exporter.clickhouse.engine.endpoint import DEFAULT_DATABASE
from exporter.clickhouse.engine.lanes import Answer, EngineError

_NODES = frozenset(
    {
        "SelectWithUnionQuery", "SelectIntersectExceptQuery", "SelectQuery", "ExpressionList", "Subquery",
        "WithElement", "TablesInSelectQuery", "TablesInSelectQueryElement", "TableExpression",
        "TableIdentifier", "TableJoin", "ArrayJoin", "SampleRatio", "Identifier", "Literal", "Function",
        "QueryParameter", "Asterisk", "QualifiedAsterisk", "ColumnsListMatcher", "ColumnsRegexpMatcher",
        "QualifiedColumnsListMatcher", "QualifiedColumnsRegexpMatcher", "ColumnsTransformerList",
        "ColumnsApplyTransformer", "ColumnsExceptTransformer", "ColumnsReplaceTransformer",
        "ColumnsReplaceTransformerReplacement", "OrderByElement", "WindowDefinition", "WindowListElement",
        "InterpolateElement", "ExplainQuery", "StorageOrderByElement",
    }
)  # fmt: skip
# Tables are read only through these; each makes its rows out of its arguments.
_TABLE_FUNCTIONS = frozenset(
    {
        "numbers", "numbers_mt", "zeros", "generateSeries", "generate_series", "values", "null",
        "api_calls",  # the view of the store's own table
    }
)  # fmt: skip
# Categories of system.functions whose members compute on their arguments alone.
_CATEGORIES = frozenset(
    {
        "Aggregate Functions", "Arithmetic", "Arrays", "Bit", "Bitmap", "Comparison", "Conditional",
        "Dates and Times", "Distance", "Encoding", "Encryption", "Financial", "Geo", "Geo Polygon", "Hash",
        "IP Address", "JSON", "Logical", "Map", "Mathematical", "Null", "NumericIndexedVector", "Random Number",
        "Rounding", "String", "String Replacement", "String Search", "String Splitting", "Time Window", "Tuple",
        "Type Conversion", "URL", "UUID",
    }
)  # fmt: skip
# From the mixed categories "Other" and none, by name.
_FUNCTIONS = frozenset(
    {
        "bar", "blockNumber", "byteSize", "caseWithExpr", "caseWithExpression", "caseWithoutExpr",
        "caseWithoutExpression", "countDigits", "currentDatabase", "current_date", "defaultValueOfTypeName",
        "digits", "errorCodeToName", "exists", "finalizeAggregation", "formatReadableDecimalSize",
        "formatReadableQuantity", "formatReadableSize", "formatReadableTimeDelta", "getSubcolumn", "grouping",
        "hostName", "identity", "ignore", "indexHint", "initializeAggregation", "isConstant",
        "isDecimalOverflow", "lambda", "materialize", "minSampleSizeContinuous", "minSampleSizeConversion",
        "neighbor", "normalizeQuery", "normalizedQueryHash", "parseReadableSize", "parseTimeDelta", "revision",
        "rowNumberInAllBlocks", "rowNumberInBlock", "runningAccumulate", "runningDifference",
        "runningDifferenceStartingWithFirstValue", "throwIf", "timezone", "toColumnTypeName", "toTypeName",
        "transform", "untuple", "uptime", "variantElement", "variantType", "version", "visibleWidth",
        "countDistinct", "rank", "dense_rank", "row_number", "percent_rank", "cume_dist", "ntile", "lag",
        "lead", "lagInFrame", "leadInFrame", "nth_value", "first_value", "last_value", "timeZone",
        # Names that people give to columns; they tell about the session, which has nothing to hide.
        "user", "currentUser", "current_user", "session_user", "authUser", "authenticatedUser", "queryID", "query_id",
        "initialQueryID", "initial_query_id", "connectionId", "connection_id", "displayName", "nested", "tid",
        "FQDN", "fqdn", "fullHostName", "shardNum", "shardCount", "buildId", "transactionID", "partitionId",
    }
)  # fmt: skip
_COMBINATORS = re.compile(
    r"(?:If|Array|Map|Distinct|State|Merge|MergeState|ForEach|OrDefault|OrNull|Resample|ArgMin|ArgMax|SimpleState)$"
)
_SYSTEM_TABLES = frozenset(
    {
        "one", "numbers", "columns", "tables", "databases", "parts", "parts_columns", "settings", "functions",
        "processes", "merges", "mutations", "metrics", "events", "asynchronous_metrics", "formats",
        "data_type_families", "table_functions", "time_zones", "build_options", "errors", "table_engines",
        "aggregate_function_combinators",
    }
)  # fmt: skip
_FORMATS = re.compile(
    r"(?:Native|Null|Vertical|Markdown|XML|Values|(?:Pretty|CSV|TSV|TabSeparated|JSON|RowBinary|Arrow|Parquet)\w*)"
)
_IN = frozenset(
    {
        "in", "notin", "globalin", "globalnotin", "nullin", "notnullin", "globalnullin", "globalnotnullin",
        "inignoreset", "notinignoreset", "globalinignoreset", "globalnotinignoreset", "nullinignoreset",
        "notnullinignoreset", "globalnullinignoreset", "globalnotnullinignoreset",
    }
)  # fmt: skip
_WORD = r"(?:\w+|`\w+`|\"\w+\")"
_NAME = rf"(?:(?![`\"]?default\b[`\"]?\.){_WORD}\.)?{_WORD}"
_METADATA = re.compile(
    rf"(?:SHOW\s+(?:TABLES(?:\s+(?:FROM|IN)\s+(?![`\"]?default\b){_WORD})?|DATABASES)"
    rf"|(?:DESC|DESCRIBE|EXISTS)(?:\s+TABLE)?\s+{_NAME}|SHOW\s+CREATE\s+(?:TABLE|VIEW)\s+{_NAME})"
    r"(?:\s+FORMAT\s+(?P<format>\w+))?",
    re.IGNORECASE,
)
_PARSE = "SELECT parseQueryToJSON({statement:String}) FORMAT JSONEachRow"
_BAD_ARGUMENTS = 36
_ONLY = "a reader has SELECT, EXPLAIN, DESCRIBE name, SHOW TABLES, SHOW DATABASES and SHOW CREATE TABLE name"
_CONTROL = re.compile(r"[\x00-\x08\x0b\x0c\x0e-\x1f\x7f]")

Node = dict[str, Any]


class Refused(Exception):
    """The statement is not one a reader may run. The text says which part."""


class Allowed(NamedTuple):
    """A statement that may be run, and the format that it names; "" for none."""

    sql: str
    form: str


class Reader(Protocol):
    def execute(self, sql: str, parameters: Mapping[str, str] | None = None) -> Answer: ...


class Guard:
    """Judges statements. Learns the engine's functions on first use; one object serves all reading connections."""

    def __init__(self) -> None:
        self._exact: frozenset[str] = frozenset()
        self._folded: frozenset[str] = frozenset()
        self._aggregates: frozenset[str] = frozenset()
        self._closed: frozenset[str] = frozenset()

    def check(self, connection: Reader, sql: str, database: str) -> Allowed:
        """The statement as it may be run in `database`. Raises Refused, or EngineError when it does not parse."""
        if _CONTROL.search(sql):
            raise Refused("control characters")
        text = sql.strip().rstrip(";").rstrip()
        if (database or DEFAULT_DATABASE).lower() == "default":
            raise Refused("the database `default`, in which file names are tables")
        metadata = _METADATA.fullmatch(text)
        if metadata is not None:
            self.check_format(metadata["format"] or "Native")
            return Allowed(text, metadata["format"] or "")
        if not self._exact:
            self._learn(connection)
        try:
            answer = connection.execute(_PARSE, {"statement": _escape(text)})
        except EngineError as error:
            if error.code == _BAD_ARGUMENTS:  # kinds of statement that have no tree, GRANT or SHOW PROCESSLIST
                raise Refused(_ONLY) from None
            raise
        try:
            tree = json.loads(next(iter(json.loads(answer.body).values())))
        except RecursionError:
            raise Refused("too many levels") from None
        if tree.get("type") not in ("SelectWithUnionQuery", "SelectIntersectExceptQuery", "ExplainQuery"):
            raise Refused(f"{_show(tree.get('type'))}; {_ONLY}")
        form = tree.pop("format_ast", None)
        if form is not None:
            self.check_format(str(form.get("name")))
        for node in _nodes(tree):
            self._node(node)
        return Allowed(text, str(form.get("name")) if form is not None else "")

    def _learn(self, connection: Reader) -> None:
        rows = connection.execute(
            "SELECT f.name, f.case_insensitive, f.is_aggregate, if(f.alias_to = '', f.categories, o.categories),"
            " f.alias_to FROM system.functions AS f LEFT JOIN system.functions AS o ON f.alias_to = o.name"
            " FORMAT JSONCompactEachRow"
        )
        exact, folded, aggregates = set(_FUNCTIONS), set(), set()
        names: set[str] = set()
        for line in rows.body.splitlines():
            name, folds, is_aggregate, category, origin = json.loads(line)
            names.update((name, name.lower()) if folds else (name,))
            if is_aggregate:
                aggregates.add(name)
            if is_aggregate or category in _CATEGORIES or origin in _FUNCTIONS:
                exact.add(name)
            if folds and name in exact:
                folded.add(name.lower())
        self._exact, self._folded, self._aggregates = frozenset(exact), frozenset(folded), frozenset(aggregates)
        self._closed = frozenset(names - exact - folded)

    def _node(self, node: Node) -> None:
        kind = node["type"]
        if kind not in _NODES:
            raise Refused(f"{_show(kind)} is not for readers")
        if node.get("out_file") is not None or node.get("format_ast") is not None:
            raise Refused("INTO OUTFILE, and FORMAT anywhere but at the end")
        if kind == "Function":
            self._function(str(node.get("name")))
            self._in(node)
        elif kind == "ColumnsApplyTransformer" and "func_name" in node:
            self._function(str(node["func_name"]))
        elif kind == "Identifier":
            self._identifier(str(node.get("name")))
        elif kind == "TableExpression":
            self._table(node)
        elif kind == "QueryParameter" and "identifier" in str(node.get("param_type", "")).lower():
            raise Refused("a parameter as the name of a table or column")
        elif kind == "ExplainQuery" and node.get("kind") not in ("EXPLAIN", "EXPLAIN AST", "EXPLAIN SYNTAX",
                                                                 "EXPLAIN PIPELINE", "EXPLAIN ESTIMATE"):  # fmt: skip
            raise Refused(f"{_show(node.get('kind'))}")

    def _function(self, name: str) -> None:
        if name in self._exact or name.lower() in self._folded:
            return
        base = name
        while base not in self._aggregates:
            shorter = _COMBINATORS.sub("", base)
            if shorter == base:
                raise Refused(f"the function {_show(name)}")
            base = shorter

    def _identifier(self, name: str) -> None:
        """`arrayMap(f, x)` calls the function f, although f is written like a column."""
        if name in self._closed or name.lower() in self._closed:
            raise Refused(f"{_show(name)}, the name of a function that is not for readers")

    def _in(self, node: Node) -> None:
        """`x IN t` reads the table t, although t is written like a column."""
        if str(node.get("name")).lower() not in _IN:
            return
        for argument in node.get("arguments", {}).get("children", [])[1:]:
            if argument.get("type") == "Identifier":
                self._name(argument)

    def _table(self, node: Node) -> None:
        function = node.get("table_function")
        if function is not None and function.get("name") not in _TABLE_FUNCTIONS:
            raise Refused(f"the table function {_show(function.get('name'))}")
        table = node.get("database_and_table_name")
        if table is not None:
            self._name(table)

    def _name(self, node: Node) -> None:
        """A bare name is a table of the current database or a WITH name; `default` and most of `system` are closed."""
        parts = [str(part) for part in node.get("name_parts") or [node.get("name")]]
        if node.get("children") or not all(parts):
            raise Refused("a parameter as the name of a table")
        if len(parts) == 1:
            return
        database = parts[0].lower()
        if len(parts) > 2 or database == "default" or (database == "system" and parts[1] not in _SYSTEM_TABLES):
            raise Refused(f"the table {_show('.'.join(parts))}")

    def check_format(self, name: str) -> None:
        """Raises Refused for a format that may read or tell something else than the answer."""
        if not _FORMATS.fullmatch(name):
            raise Refused(f"the format {_show(name)}")


def _nodes(value: object) -> Iterator[Node]:
    """Every node of the tree. The engine's parser bounds its depth (max_parser_depth), JSON's the same."""
    waiting = [value]
    while waiting:
        current = waiting.pop()
        if isinstance(current, dict):
            if isinstance(current.get("type"), str):
                if "table_function" in current:  # its name is judged by the TableExpression that holds it
                    waiting.append({**current["table_function"], "type": "ExpressionList", "name": ""})
                    yield current
                    waiting.extend(part for key, part in current.items() if key != "table_function")
                    continue
                yield current
            waiting.extend(current.values())
        elif isinstance(current, list):
            waiting.extend(current)


def _escape(text: str) -> str:
    """A String parameter's text: the engine reads backslash escapes in it."""
    return text.replace("\\", "\\\\").replace("\t", "\\t").replace("\n", "\\n").replace("\r", "\\r")


def _show(value: object) -> str:
    return repr(str(value)[:60])
