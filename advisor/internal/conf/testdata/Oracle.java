import java.io.StringReader;
import java.nio.charset.StandardCharsets;
import java.nio.file.Files;
import java.nio.file.Path;
import java.util.Base64;
import java.util.stream.Stream;
import javax.xml.parsers.SAXParserFactory;
import org.xml.sax.Attributes;
import org.xml.sax.InputSource;
import org.xml.sax.SAXParseException;
import org.xml.sax.helpers.DefaultHandler;

/** Prints what the parser that Tomcat uses makes of files: one line for each element, "bad" where it refuses one. */
class Oracle {
	static String quote(String s) {
		return Base64.getEncoder().encodeToString(s.getBytes(StandardCharsets.UTF_8));
	}

	public static void main(String[] files) throws Exception {
		for (String file : files) {
			StringBuilder out = new StringBuilder();
			try (var in = Files.newInputStream(Path.of(file))) {
				SAXParserFactory.newInstance().newSAXParser().parse(in, new DefaultHandler() {
					@Override
					public void startElement(String uri, String local, String name, Attributes attrs) {
						out.append("element " + quote(name));
						for (int i = 0; i < attrs.getLength(); i++) {
							out.append(" " + quote(attrs.getQName(i)) + "=" + quote(attrs.getValue(i)));
						}
						out.append("\n");
					}

					@Override
					public InputSource resolveEntity(String publicId, String systemId) {
						return new InputSource(new StringReader(""));
					}

					@Override
					public void error(SAXParseException e) {}

					@Override
					public void fatalError(SAXParseException e) throws SAXParseException {
						throw e;
					}
				});
				System.out.println("file ok");
				System.out.print(out);
			} catch (Exception e) {
				System.out.println("file bad " + e.getMessage());
			}
		}
	}
}
