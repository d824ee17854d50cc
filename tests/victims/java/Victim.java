import com.sun.net.httpserver.HttpExchange;
import com.sun.net.httpserver.HttpServer;
import java.io.IOException;
import java.io.InputStream;
import java.io.OutputStream;
import java.net.HttpURLConnection;
import java.net.InetSocketAddress;
import java.net.URL;
import java.util.concurrent.Executors;

/** The Java victim: com.sun.net.httpserver on a thread pool, HttpURLConnection as its client. Usage: Victim PORT. */
public final class Victim {
    private static final String LEAF = System.getenv().getOrDefault("LEAF_URL", "");

    public static void main(String[] args) throws IOException {
        HttpServer server =
                HttpServer.create(new InetSocketAddress("127.0.0.1", Integer.parseInt(args[0])), 128);
        server.setExecutor(Executors.newFixedThreadPool(8));
        server.createContext("/", Victim::handle);
        server.start();
    }

    private static void handle(HttpExchange exchange) throws IOException {
        String path = exchange.getRequestURI().getPath();
        String query = exchange.getRequestURI().getQuery();
        String[] parts = path.substring(1).split("/");
        switch (parts[0]) {
            case "work" -> answer(exchange, 200, "worked " + fetch(LEAF + "/leaf/" + parts[1] + "/0"));
            case "slow" -> {
                try {
                    Thread.sleep(query != null && query.startsWith("ms=") ? Long.parseLong(query.substring(3)) : 300);
                } catch (InterruptedException e) {
                    throw new IOException(e);
                }
                answer(exchange, 200, "slow");
            }
            case "status" -> answer(exchange, Integer.parseInt(parts[1]), "status");
            case "echo" -> answer(exchange, 200, String.valueOf(exchange.getRequestBody().readAllBytes().length));
            case "chunked" -> {
                exchange.sendResponseHeaders(200, 0);
                try (OutputStream body = exchange.getResponseBody()) {
                    for (int part = 0; part < 5; part++) {
                        body.write(("part " + part + "\n").getBytes());
                        body.flush();
                    }
                }
            }
            default -> answer(exchange, 200, "leaf " + path);
        }
    }

    private static String fetch(String url) throws IOException {
        HttpURLConnection connection = (HttpURLConnection) new URL(url).openConnection();
        try (InputStream body = connection.getInputStream()) {
            return new String(body.readAllBytes());
        }
    }

    private static void answer(HttpExchange exchange, int status, String text) throws IOException {
        byte[] body = text.getBytes();
        boolean empty = status == 204 || status == 304 || exchange.getRequestMethod().equals("HEAD");
        exchange.sendResponseHeaders(status, empty ? -1 : body.length);
        if (!empty) {
            exchange.getResponseBody().write(body);
        }
        exchange.close();
    }
}
