import java.sql.Connection;
import java.sql.DriverManager;
import java.sql.PreparedStatement;
import java.sql.ResultSet;
import java.sql.SQLException;
import java.sql.Statement;
import java.util.Properties;

/** What dashboards do through JDBC. Arguments: host:port user password compress. A line for each thing it sees. */
public class Ask {
    public static void main(String[] arguments) throws Exception {
        Properties properties = new Properties();
        properties.setProperty("user", arguments[1]);
        properties.setProperty("password", arguments[2]);
        properties.setProperty("compress", arguments[3]);
        String url = "jdbc:clickhouse://" + arguments[0] + "/analytics";
        try (Connection connection = DriverManager.getConnection(url, properties); Statement statement = connection.createStatement()) {
            ResultSet rows = statement.executeQuery(
                "SELECT user_id, count() AS n, max(event_time) AS t, any(duration_ms) AS d FROM api_events GROUP BY user_id ORDER BY user_id");
            while (rows.next()) {
                System.out.println(rows.getString(1) + " " + rows.getLong(2) + " " + (rows.getTimestamp(3) != null) + " " + rows.getDouble(4));
            }
            try (PreparedStatement prepared = connection.prepareStatement("SELECT count() FROM api_events WHERE company_id = ?")) {
                prepared.setString(1, "acme");
                rows = prepared.executeQuery();
                rows.next();
                System.out.println("acme " + rows.getLong(1));
            }
            rows = connection.getMetaData().getColumns(null, "analytics", "api_events", "%");
            int columns = 0;
            while (rows.next()) {
                columns++;
            }
            System.out.println("columns " + (columns > 60));
            rows = connection.getMetaData().getTables(null, "analytics", "%", null);
            while (rows.next()) {
                System.out.println("table " + rows.getString("TABLE_NAME"));
            }
            rows = statement.executeQuery("SELECT * FROM api_events ORDER BY event_id LIMIT 3");
            int count = 0;
            while (rows.next()) {
                count += rows.getString("metadata").contains("experiment") ? 1 : 0;
            }
            System.out.println("rows " + count);
            System.out.println("none " + statement.executeQuery("SELECT * FROM api_events WHERE 0").next());
            rows = statement.executeQuery("SELECT number FROM numbers(200000)");
            long sum = 0;
            while (rows.next()) {
                sum += rows.getLong(1);
            }
            System.out.println("sum " + sum);
            try {
                statement.executeUpdate("DROP TABLE api_events");
            } catch (SQLException error) {
                System.out.println("refused " + (error.getErrorCode() == 164));
            }
        }
    }
}
