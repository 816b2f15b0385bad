import java.util.ArrayList;
import java.util.List;
import java.util.Scanner;
import org.apache.http.client.methods.CloseableHttpResponse;
import org.apache.http.client.methods.HttpGet;
import org.apache.http.impl.client.CloseableHttpClient;
import org.apache.http.impl.client.HttpClients;
import org.apache.http.impl.conn.PoolingHttpClientConnectionManager;
import org.apache.http.util.EntityUtils;

/**
 * Apache HttpClient with a pool of the given size. Each line on the standard input is an order, answered by a line when it is done:
 * "leak N URL" takes N connections of the pool and forgets the responses, "use N URL" takes N at once and gives all back.
 */
public class PooledClient {
    private static final List<CloseableHttpResponse> FORGOTTEN = new ArrayList<>();

    public static void main(String[] args) throws Exception {
        int size = Integer.parseInt(args[0]);
        PoolingHttpClientConnectionManager pool = new PoolingHttpClientConnectionManager();
        pool.setDefaultMaxPerRoute(size);
        pool.setMaxTotal(size);
        CloseableHttpClient client = HttpClients.custom().setConnectionManager(pool).build();
        for (Scanner orders = new Scanner(System.in); orders.hasNextLine();) {
            String[] order = orders.nextLine().split(" ");
            List<CloseableHttpResponse> responses = new ArrayList<>();
            for (int i = Integer.parseInt(order[1]); i > 0; i--) {
                responses.add(client.execute(new HttpGet(order[2])));
            }
            if (order[0].equals("leak")) {
                FORGOTTEN.addAll(responses);
            } else {
                for (CloseableHttpResponse response : responses) {
                    EntityUtils.consume(response.getEntity());
                    response.close();
                }
            }
            System.out.println(pool.getTotalStats());
        }
    }
}
