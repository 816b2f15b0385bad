import java.io.IOException;
import java.net.ServerSocket;
import java.net.Socket;
import java.util.ArrayList;
import java.util.List;

/** Reads each connection on 9000 to its end and forgets to close it. "stream" as argument: it sends a line each 200 ms until that fails. */
public class LeakyServer {
    private static final List<Socket> FORGOTTEN = new ArrayList<>();

    public static void main(String[] args) throws Exception {
        boolean stream = args.length > 0 && args[0].equals("stream");
        ServerSocket listener = new ServerSocket(9000, 8);
        while (true) {
            try {
                Socket s = listener.accept();
                FORGOTTEN.add(s);
                new Thread(() -> serve(s, stream)).start();
            } catch (IOException e) {
                System.out.println(e);
                Thread.sleep(100);
            }
        }
    }

    private static void serve(Socket s, boolean stream) {
        byte[] buffer = new byte[1024];
        try {
            while (s.getInputStream().read(buffer) >= 0) { }
            while (stream) {
                s.getOutputStream().write("tick\n".getBytes());
                Thread.sleep(200);
            }
        } catch (IOException | InterruptedException e) {
            System.out.println(e);
        }
    }
}
