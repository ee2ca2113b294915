"""What Superset asks through clickhouse-connect's dialect of SQLAlchemy. Arguments: host:port, user, password."""

import sys

import sqlalchemy as sa
from sqlalchemy.engine import URL

address, user, password = sys.argv[1:]
host, _, port = address.partition(":")
url = URL.create("clickhousedb", user, password, host, int(port), "analytics")
engine = sa.create_engine(url)
with engine.connect() as connection:
    print("ping", connection.scalar(sa.text("SELECT 1")))
    there = sa.inspect(engine)
    print("schemas", "analytics" in there.get_schema_names())
    print("tables", " ".join(sorted(there.get_table_names("analytics"))))
    print("has", there.has_table("api_events", schema="analytics"), there.has_table("nothing", schema="analytics"))
    columns = {one["name"]: one["type"] for one in there.get_columns("api_events", schema="analytics")}
    print("columns", len(columns) > 60, "metadata" in columns, "plan_id" in columns)
    events = sa.Table("api_events", sa.MetaData(schema="analytics"), autoload_with=engine)
    # A chart of Superset: a time grain, a metric, a filter, the rest by name.
    hour = sa.func.toStartOfHour(events.c.event_time).label("hour")
    calls = sa.func.sum(events.c.weight).label("calls")
    chart = sa.select(hour, events.c.user_id, calls).where(events.c.event_type == "api_call")
    chart = chart.where(events.c.user_id.in_(["user-1", "user-2"])).group_by(hour, events.c.user_id)
    rows = connection.execute(chart.order_by(calls.desc(), events.c.user_id).limit(1000)).all()
    print("chart", len(rows), sum(int(row.calls) for row in rows), type(rows[0].hour).__name__)
    # SQL Lab: whatever is written, cut at a limit; a preview of the table.
    lab = (
        "SELECT * FROM (SELECT user_id, count() AS n FROM api_events GROUP BY user_id ORDER BY n DESC, user_id) LIMIT 3"
    )
    print("lab", [tuple(row) for row in connection.execute(sa.text(lab))])
    preview = connection.execute(sa.select(events).limit(5)).mappings().all()
    print("preview", len(preview), type(preview[0]["metadata"]).__name__)
    bound = "SELECT count() FROM api_calls(since = '2026-01-01', until = '2030-01-01') WHERE user_id = :user"
    print("bound", connection.scalar(sa.text(bound), {"user": "user-1"}) > 0)
    for wrong in ("DROP TABLE api_events", "SELECT * FROM file('/etc/passwd')"):
        try:
            connection.execute(sa.text(wrong))
            print("refused False")
        except sa.exc.DatabaseError:
            print("refused True")
