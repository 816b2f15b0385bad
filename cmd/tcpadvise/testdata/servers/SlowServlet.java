import jakarta.servlet.http.HttpServlet;
import jakarta.servlet.http.HttpServletRequest;
import jakarta.servlet.http.HttpServletResponse;
import java.io.IOException;
import java.util.concurrent.locks.LockSupport;

/** Answers GET /?seconds=S after that time and notices nothing of its client meanwhile, as a handler that waits for a database. */
public class SlowServlet extends HttpServlet {
    @Override
    protected void doGet(HttpServletRequest request, HttpServletResponse response) throws IOException {
        String seconds = request.getParameter("seconds");
        if (seconds != null) {
            long end = System.nanoTime() + (long) (Double.parseDouble(seconds) * 1e9);
            while (System.nanoTime() < end) {
                LockSupport.parkNanos(end - System.nanoTime());
            }
        }
        response.getOutputStream().print("done\n");
    }
}
