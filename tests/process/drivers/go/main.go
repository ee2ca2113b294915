package main

import (
	"context"
	"fmt"
	"os"
	"strings"
	"time"

	"github.com/ClickHouse/clickhouse-go/v2"
)

func must(err error) {
	if err != nil {
		fmt.Println("ERROR", err)
		os.Exit(1)
	}
}

func main() {
	for _, method := range []clickhouse.CompressionMethod{clickhouse.CompressionNone, clickhouse.CompressionGZIP} {
		ask(method)
	}
}

func ask(method clickhouse.CompressionMethod) {
	ctx := context.Background()
	conn, err := clickhouse.Open(&clickhouse.Options{
		Addr: []string{os.Args[1]}, Protocol: clickhouse.HTTP,
		Auth:        clickhouse.Auth{Database: "analytics", Username: os.Args[2], Password: os.Args[3]},
		Compression: &clickhouse.Compression{Method: method},
		DialTimeout: 10 * time.Second,
	})
	must(err)
	must(conn.Ping(ctx))
	rows, err := conn.Query(ctx, "SELECT user_id, count() AS n, max(event_time) AS t, any(duration_ms) AS d FROM api_events GROUP BY user_id ORDER BY user_id")
	must(err)
	for rows.Next() {
		var user string
		var n uint64
		var t time.Time
		var d *float64
		must(rows.Scan(&user, &n, &t, &d))
		fmt.Println(user, n, t.UTC().Format(time.RFC3339), d != nil)
	}
	must(rows.Err())
	var n uint64
	must(conn.QueryRow(ctx, "SELECT count() FROM api_events WHERE company_id = {c:String}", clickhouse.Named("c", "acme")).Scan(&n))
	fmt.Println("acme", n)
	must(conn.QueryRow(ctx, "SELECT count() FROM api_events WHERE company_id = ?", "acme").Scan(&n))
	fmt.Println("acme", n)
	rows, err = conn.Query(ctx, "SELECT * FROM api_events ORDER BY event_id LIMIT 3")
	must(err)
	k := 0
	for rows.Next() {
		k++
	}
	must(rows.Err())
	fmt.Println("rows", k, "columns", len(rows.Columns()) > 60)
	var headers map[string]string
	var flags []string
	var metadata string
	must(conn.QueryRow(ctx, "SELECT request_headers, flags, metadata FROM api_events WHERE has(flags, 'late') LIMIT 1").Scan(&headers, &flags, &metadata))
	fmt.Println("late", len(flags), strings.Contains(metadata, `"experiment":"x"`))
	rows, err = conn.Query(ctx, "SELECT number FROM numbers(200000)")
	must(err)
	var sum, one uint64
	for rows.Next() {
		must(rows.Scan(&one))
		sum += one
	}
	must(rows.Err())
	fmt.Println("sum", sum)
	rows, err = conn.Query(ctx, "SELECT * FROM api_events WHERE 0")
	must(err)
	fmt.Println("none", rows.Next())
	err = conn.Exec(ctx, "DROP TABLE api_events")
	fmt.Println("refused", err != nil)
}
