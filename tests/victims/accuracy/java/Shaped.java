import com.sun.net.httpserver.HttpExchange;
import com.sun.net.httpserver.HttpServer;
import java.io.IOException;
import java.net.InetSocketAddress;
import java.util.concurrent.ExecutorService;
import java.util.concurrent.Executors;

/** com.sun.net.httpserver for `cargo xtask accuracy`. Usage: Shaped fixed|virtual|futures PORT. */
public final class Shaped {
    public static void main(String[] args) throws Exception {
        String kind = args[0];
        HttpServer server =
                HttpServer.create(new InetSocketAddress("127.0.0.1", Integer.parseInt(args[1])), 511);
        server.setExecutor(kind.equals("virtual") ? virtual() : Executors.newFixedThreadPool(8));
        server.createContext("/", exchange -> handle(kind, exchange));
        server.start();
    }

    /** By reflection, because the other two are for Java 17 too. */
    private static ExecutorService virtual() throws ReflectiveOperationException {
        return (ExecutorService)
                Executors.class.getMethod("newVirtualThreadPerTaskExecutor").invoke(null);
    }

    private static void handle(String kind, HttpExchange exchange) throws IOException {
        String[] parts = exchange.getRequestURI().getPath().substring(1).split("/");
        int status = 200;
        try {
            if (parts.length == 3 && kind.equals("futures")) {
                Shapes.workByFutures(parts[1], parts[2]);
            } else if (parts.length == 3) {
                Shapes.work(parts[1], parts[2]);
            }
        } catch (Exception e) {
            e.printStackTrace();
            status = 500;
        }
        byte[] body = "worked".getBytes();
        exchange.sendResponseHeaders(status, body.length);
        exchange.getResponseBody().write(body);
        exchange.close();
    }
}
