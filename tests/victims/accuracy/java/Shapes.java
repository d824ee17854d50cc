import java.io.IOException;
import java.io.InputStream;
import java.net.HttpURLConnection;
import java.net.URI;
import java.net.http.HttpClient;
import java.net.http.HttpRequest;
import java.net.http.HttpResponse.BodyHandlers;
import java.util.List;
import java.util.concurrent.CompletableFuture;
import java.util.concurrent.ExecutorService;
import java.util.concurrent.Executors;
import java.util.concurrent.Semaphore;
import java.util.stream.IntStream;

/** What /work/SHAPE/ID calls of the leaf in Java: every call is GET /leaf/ID/N, so that its path says whose it is. */
final class Shapes {
    private static final String LEAF = System.getenv().getOrDefault("LEAF_URL", "");
    private static final ExecutorService POOL = Executors.newFixedThreadPool(8);
    private static final Semaphore TWO = new Semaphore(2);
    private static final HttpClient CLIENT =
            HttpClient.newBuilder().version(HttpClient.Version.HTTP_1_1).build();

    static String leaf(String id, int step, String query) {
        return LEAF + "/leaf/" + id + "/" + step + query;
    }

    /** An address of this host that belongs to the one request, and port 2, where nobody listens. */
    static String refused(String id) {
        int low = Integer.parseInt(id.substring(id.length() - 4), 16);
        return "http://127.1." + (low >> 8) + "." + (low & 255) + ":2/leaf/" + id + "/2";
    }

    static void pause(String id) {
        try {
            Thread.sleep(1 + Integer.parseInt(id.substring(id.length() - 2), 16) % 8);
        } catch (InterruptedException e) {
            throw new IllegalStateException(e);
        }
    }

    /** A failure is an answer too here: some shapes ask for one. */
    static void get(String url) {
        try {
            HttpURLConnection connection = (HttpURLConnection) URI.create(url).toURL().openConnection();
            try (InputStream body = connection.getInputStream()) {
                body.readAllBytes();
            } catch (IOException failed) {
                InputStream body = connection.getErrorStream();
                if (body != null) {
                    body.readAllBytes();
                    body.close();
                }
            }
        } catch (IOException failed) {
            // No connection: what was asked for.
        }
    }

    static void pooled(String url) {
        TWO.acquireUninterruptibly();
        try {
            get(url);
        } finally {
            TWO.release();
        }
    }

    static CompletableFuture<?> later(String url) {
        return CLIENT.sendAsync(HttpRequest.newBuilder(URI.create(url)).build(), BodyHandlers.ofString())
                .handle((answer, failed) -> null);
    }

    static void work(String shape, String id) throws Exception {
        switch (shape) {
            case "seq" -> IntStream.range(0, 3).forEach(step -> get(leaf(id, step, "")));
            case "fanout" -> POOL.invokeAll(IntStream.range(0, 4)
                    .mapToObj(step -> Executors.callable(() -> get(leaf(id, step, ""))))
                    .toList());
            case "handover" -> {
                POOL.submit(() -> get(leaf(id, 0, ""))).get();
                POOL.submit(() -> get(leaf(id, 1, ""))).get();
            }
            case "timer" -> {
                get(leaf(id, 0, ""));
                pause(id);
                get(leaf(id, 1, ""));
            }
            case "pool" -> IntStream.range(0, 3).forEach(step -> pooled(leaf(id, step, "")));
            case "fail" -> List.of(leaf(id, 0, "?fail=500"), leaf(id, 1, "?fail=close"), refused(id))
                    .forEach(Shapes::get);
            case "background" -> POOL.submit(() -> {
                pause(id);
                get(leaf(id, 0, ""));
            });
            default -> throw new IllegalArgumentException(shape);
        }
    }

    /** The same with java.net.http and CompletableFuture: who waits is not who calls. */
    static void workByFutures(String shape, String id) throws Exception {
        switch (shape) {
            case "seq" -> later(leaf(id, 0, ""))
                    .thenCompose(done -> later(leaf(id, 1, "")))
                    .thenCompose(done -> later(leaf(id, 2, "")))
                    .get();
            case "fanout" -> CompletableFuture.allOf(IntStream.range(0, 4)
                            .mapToObj(step -> later(leaf(id, step, "")))
                            .toArray(CompletableFuture[]::new))
                    .get();
            case "handover" -> CompletableFuture.runAsync(() -> get(leaf(id, 0, "")))
                    .thenRunAsync(() -> get(leaf(id, 1, "")), POOL)
                    .get();
            default -> work(shape, id);
        }
    }
}
