import com.sun.net.httpserver.HttpExchange;
import com.sun.net.httpserver.HttpServer;
import java.io.IOException;
import java.net.InetSocketAddress;
import java.util.concurrent.ExecutorService;
import java.util.concurrent.Executors;

/**
 * com.sun.net.httpserver for `cargo xtask accuracy`. Usage: Shaped fixed|virtual|futures PORT [collect], where the last word
 * means that garbage is collected all the time.
 */
public final class Shaped {
    public static void main(String[] args) throws Exception {
        String kind = args[0];
        HttpServer server =
                HttpServer.create(new InetSocketAddress("127.0.0.1", Integer.parseInt(args[1])), 511);
        server.setExecutor(kind.equals("virtual") ? virtual() : Executors.newFixedThreadPool(8));
        server.createContext("/", exchange -> handle(kind, exchange));
        server.start();
        if (args.length > 2) {
            new Thread(Shaped::collect, "collect").start();
        }
    }

    /** What is used is moved all the time: every fourth of the arrays goes. */
    private static void collect() {
        byte[][] kept = new byte[4096][];
        for (int turn = 0; ; turn++) {
            for (int place = turn % 4; place < kept.length; place += 4) {
                kept[place] = new byte[1 + place % 997];
            }
            System.gc();
            try {
                // Others get their turn on a machine with few processors.
                Thread.sleep(2);
            } catch (InterruptedException e) {
                return;
            }
        }
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
