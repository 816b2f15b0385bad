import java.lang.reflect.Field;
import java.net.URI;
import java.util.Map;
import org.apache.activemq.openwire.OpenWireFormatFactory;
import org.apache.activemq.transport.TransportFactory;
import org.apache.activemq.transport.TransportServerSupport;
import org.apache.activemq.transport.tcp.TcpTransportServer;

// Binds each URI as a transportConnector does and prints what ActiveMQ itself made of its options: maximumConnections,
// maxInactivityDuration, the transport's options as the monitor and the socket will be handed them.
class Bind {
    public static void main(String[] uris) throws Exception {
        for (String uri : uris) {
            TcpTransportServer server = (TcpTransportServer) TransportFactory.bind(new URI(uri));
            Field field = TransportServerSupport.class.getDeclaredField("transportOptions");
            field.setAccessible(true);
            Map<?, ?> options = (Map<?, ?>) field.get(server);
            long inactivity = ((OpenWireFormatFactory) server.getWireFormatFactory()).getMaxInactivityDuration();
            System.out.println(server.getMaximumConnections() + " " + inactivity + " " + options.get("useInactivityMonitor") + " " + options.get("keepAlive"));
            server.stop();
        }
        System.exit(0);
    }
}
