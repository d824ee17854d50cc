import java.io.InputStream;
import java.net.HttpURLConnection;
import java.net.URI;
import java.net.http.HttpClient;
import java.net.http.HttpRequest;
import java.net.http.HttpResponse.BodyHandlers;
import java.time.Duration;
import java.util.Locale;

/** Stall url|client PORT SECONDS PATIENCE STALL CONNECTIONS: as client.js, by HttpURLConnection or java.net.http. */
public final class Stall {
    private static final int BIG = 3 << 20;
    private static final int SMALL = 17;
    private static int requests;
    private static int failures;
    private static int stalls;
    private static double longest;

    private Stall() {}

    private static long overUrl(URI uri, int patience) throws Exception {
        HttpURLConnection open = (HttpURLConnection) uri.toURL().openConnection();
        open.setConnectTimeout(patience);
        open.setReadTimeout(patience);
        try (InputStream body = open.getInputStream()) {
            byte[] room = new byte[64 << 10];
            long size = 0;
            for (int got = body.read(room); got >= 0; got = body.read(room)) {
                size += got;
            }
            return open.getResponseCode() == 200 ? size : -1;
        }
    }

    private static long overClient(HttpClient client, URI uri, int patience) throws Exception {
        HttpRequest asked = HttpRequest.newBuilder(uri).timeout(Duration.ofMillis(patience)).build();
        var answer = client.send(asked, BodyHandlers.ofByteArray());
        return answer.statusCode() == 200 ? answer.body().length : -1;
    }

    private static synchronized void tell(double took, boolean isRight, double stall) {
        requests++;
        failures += isRight ? 0 : 1;
        stalls += took >= stall ? 1 : 0;
        longest = Math.max(longest, took);
    }

    public static void main(String[] words) throws Exception {
        boolean isUrl = words[0].equals("url");
        String base = "http://127.0.0.1:" + words[1];
        int patience = (int) (Double.parseDouble(words[3]) * 1e3);
        double stall = Double.parseDouble(words[4]);
        HttpClient client = HttpClient.newBuilder().version(HttpClient.Version.HTTP_1_1).build();
        long end = System.nanoTime() + (long) (Double.parseDouble(words[2]) * 1e9);
        Thread[] threads = new Thread[Integer.parseInt(words[5])];
        for (int at = 0; at < threads.length; at++) {
            threads[at] = new Thread(() -> {
                for (int number = 0; System.nanoTime() < end; number++) {
                    boolean isBig = number % 4 == 0;
                    URI uri = URI.create(base + (isBig ? "/big.bin" : "/small.txt"));
                    long begun = System.nanoTime();
                    long size = -1;
                    try {
                        size = isUrl ? overUrl(uri, patience) : overClient(client, uri, patience);
                    } catch (Exception error) {
                        System.err.println(words[0] + " " + number + ": " + error);
                    }
                    tell((System.nanoTime() - begun) / 1e9, size == (isBig ? BIG : SMALL), stall);
                }
            });
            threads[at].start();
        }
        for (Thread thread : threads) {
            thread.join();
        }
        System.out.printf(Locale.ROOT, "{\"requests\":%d,\"failures\":%d,\"stalls\":%d,\"longest\":%.3f}%n", requests, failures, stalls, longest);
        System.exit(0);
    }
}
