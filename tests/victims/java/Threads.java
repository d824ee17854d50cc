import java.io.BufferedReader;
import java.io.IOException;
import java.io.InputStream;
import java.io.InputStreamReader;
import java.io.OutputStream;
import java.net.HttpURLConnection;
import java.net.InetAddress;
import java.net.InetSocketAddress;
import java.net.ServerSocket;
import java.net.Socket;
import java.net.URI;
import java.nio.ByteBuffer;
import java.nio.channels.SelectionKey;
import java.nio.channels.Selector;
import java.nio.channels.ServerSocketChannel;
import java.nio.channels.SocketChannel;
import java.util.Iterator;
import java.util.concurrent.LinkedBlockingQueue;

/**
 * Virtual threads that serve requests GET /NAME/ID, and whose calls are GET /leaf/ID/N. Usage: Threads connections|loop PORT
 * [collect], where the last word means that garbage is collected all the time. Java 21 or later.
 */
public final class Threads {
    private static final String LEAF = System.getenv().getOrDefault("LEAF_URL", "");
    private static final LinkedBlockingQueue<Runnable> QUEUE = new LinkedBlockingQueue<>();

    public static void main(String[] args) throws Exception {
        int port = Integer.parseInt(args[1]);
        for (int worker = 0; worker < 4; worker++) {
            new Thread(Threads::work, "worker").start();
        }
        if (args.length > 2) {
            new Thread(Threads::collect, "collect").start();
        }
        if (args[0].equals("loop")) {
            virtual(() -> loop(port)).join();
        }
        try (ServerSocket listener = new ServerSocket(port, 511, InetAddress.getLoopbackAddress())) {
            while (true) {
                Socket socket = listener.accept();
                virtual(() -> connection(socket));
            }
        }
    }

    /** By reflection, because it is compiled by Java 17. */
    private static Thread virtual(Runnable task) {
        try {
            return (Thread) Thread.class.getMethod("startVirtualThread", Runnable.class).invoke(null, task);
        } catch (ReflectiveOperationException e) {
            throw new IllegalStateException(e);
        }
    }

    private static void work() {
        while (true) {
            try {
                QUEUE.take().run();
            } catch (InterruptedException e) {
                return;
            }
        }
    }

    private static void collect() {
        byte[][] kept = new byte[4096][];
        for (int turn = 0; ; turn++) {
            for (int place = turn % 4; place < kept.length; place += 4) {
                kept[place] = new byte[1 + place % 997];
            }
            System.gc();
            // Others get their turn on a machine with few processors.
            pause(2);
        }
    }

    private static void get(String id, int step) {
        try {
            HttpURLConnection connection =
                    (HttpURLConnection) URI.create(LEAF + "/leaf/" + id + "/" + step).toURL().openConnection();
            try (InputStream body = connection.getInputStream()) {
                body.readAllBytes();
            }
        } catch (IOException e) {
            throw new IllegalStateException(e);
        }
    }

    private static void pause(long ms) {
        try {
            Thread.sleep(ms);
        } catch (InterruptedException e) {
            throw new IllegalStateException(e);
        }
    }

    private static void join(Thread... threads) {
        for (Thread thread : threads) {
            try {
                thread.join();
            } catch (InterruptedException e) {
                throw new IllegalStateException(e);
            }
        }
    }

    /** What the virtual thread of the request's connection does for it. */
    private static void serve(String name, String id) {
        switch (name) {
            case "calls" -> {
                get(id, 0);
                pause(1 + id.hashCode() % 8 & 7);
                get(id, 1);
            }
            case "children" -> join(virtual(() -> get(id, 0)), virtual(() -> get(id, 1)));
            case "thread" -> {
                Thread thread = new Thread(() -> get(id, 0));
                thread.start();
                join(thread);
            }
            case "worker" -> {
                Thread[] done = {virtual(() -> pause(1))};
                LinkedBlockingQueue<Boolean> answer = new LinkedBlockingQueue<>();
                QUEUE.add(() -> {
                    get(id, 0);
                    answer.add(true);
                });
                join(done);
                try {
                    answer.take();
                } catch (InterruptedException e) {
                    throw new IllegalStateException(e);
                }
            }
            default -> {}
        }
    }

    /** A virtual thread for each connection: requests one after the other. */
    private static void connection(Socket socket) {
        try (socket) {
            BufferedReader in = new BufferedReader(new InputStreamReader(socket.getInputStream()));
            OutputStream out = socket.getOutputStream();
            while (true) {
                String line = in.readLine();
                if (line == null) {
                    return;
                }
                while (!in.readLine().isEmpty()) {}
                String[] parts = line.split(" ")[1].split("/");
                if (parts.length > 2) {
                    serve(parts[1], parts[2]);
                }
                out.write("HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nok".getBytes());
            }
        } catch (IOException | NullPointerException e) {
            // The client is gone.
        }
    }

    /** One virtual thread for all connections. Others answer; meanwhile it makes calls that are nobody's. */
    private static void loop(int port) {
        try {
            Selector selector = Selector.open();
            ServerSocketChannel listener = ServerSocketChannel.open();
            listener.bind(new InetSocketAddress(InetAddress.getLoopbackAddress(), port), 511);
            listener.configureBlocking(false);
            listener.register(selector, SelectionKey.OP_ACCEPT);
            while (true) {
                selector.select();
                Iterator<SelectionKey> keys = selector.selectedKeys().iterator();
                while (keys.hasNext()) {
                    SelectionKey key = keys.next();
                    keys.remove();
                    if (key.isAcceptable()) {
                        SocketChannel channel = listener.accept();
                        channel.configureBlocking(false);
                        channel.register(selector, SelectionKey.OP_READ);
                    } else {
                        read(key, (SocketChannel) key.channel());
                    }
                }
            }
        } catch (IOException e) {
            throw new IllegalStateException(e);
        }
    }

    private static void read(SelectionKey key, SocketChannel channel) {
        ByteBuffer bytes = ByteBuffer.allocate(4096);
        try {
            if (channel.read(bytes) <= 0) {
                key.cancel();
                channel.close();
                return;
            }
        } catch (IOException e) {
            key.cancel();
            return;
        }
        String[] parts = new String(bytes.array(), 0, bytes.position()).split(" ")[1].split("/");
        if (parts.length > 2) {
            String id = parts[2];
            virtual(() -> {
                get(id, 1);
                pause(5);
                answer(channel);
            });
            get("none", 0);
        } else {
            answer(channel);
        }
    }

    private static void answer(SocketChannel channel) {
        try {
            channel.write(ByteBuffer.wrap("HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nok".getBytes()));
        } catch (IOException e) {
            // The client is gone.
        }
    }
}
