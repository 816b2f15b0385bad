import javax.jms.BytesMessage;
import javax.jms.Connection;
import javax.jms.DeliveryMode;
import javax.jms.MessageProducer;
import javax.jms.Session;
import org.apache.activemq.ActiveMQConnectionFactory;
import org.apache.activemq.broker.BrokerService;

/**
 * "broker": ActiveMQ on 61616 with 2 MB for messages and without an inactivity check. "producers": six connections that send to a queue
 * that nobody reads, 186 messages of 10 KB at once, which fit, and then six more each, one at a time, which do not: the broker stops
 * reading while their kernels can still send the end. "flood": they send as fast as they can, and the end cannot be sent.
 */
public class ThrottlingBroker {
    public static void main(String[] args) throws Exception {
        if (args[0].equals("broker")) {
            BrokerService broker = new BrokerService();
            broker.setPersistent(false);
            broker.setUseJmx(false);
            broker.getSystemUsage().getMemoryUsage().setLimit(2 << 20);
            broker.addConnector("tcp://127.0.0.1:61616?wireFormat.maxInactivityDuration=0");
            broker.start();
            broker.waitUntilStopped();
        }
        ActiveMQConnectionFactory factory =
            new ActiveMQConnectionFactory("tcp://127.0.0.1:61616?jms.useAsyncSend=true&wireFormat.maxInactivityDuration=0");
        for (int i = 0; i < 6; i++) {
            Connection connection = factory.createConnection();
            connection.start();
            new Thread(() -> produce(connection, args[0].equals("flood"))).start();
        }
    }

    private static void produce(Connection connection, boolean flood) {
        try {
            Session session = connection.createSession(false, Session.AUTO_ACKNOWLEDGE);
            MessageProducer producer = session.createProducer(session.createQueue("full"));
            producer.setDeliveryMode(DeliveryMode.NON_PERSISTENT);
            for (int sent = 0; flood || sent < 31 + 6; sent++) {
                BytesMessage message = session.createBytesMessage();
                message.writeBytes(new byte[10_000]);
                producer.send(message);
                Thread.sleep(flood || sent < 31 ? 0 : 300);
            }
            System.out.println("sent");
        } catch (Exception e) {
            System.out.println(e);
        }
    }
}
