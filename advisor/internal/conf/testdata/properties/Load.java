import java.io.ByteArrayInputStream;
import java.io.InputStreamReader;
import java.nio.charset.StandardCharsets;
import java.nio.file.Files;
import java.nio.file.Path;
import java.util.Properties;

// Loads each file 0, 1, 2, ... of a directory and prints what put() was called with: per file a line "FILE LATIN" and one with
// its number for each of both encodings, per entry "KEY VALUE" as UTF-16 in hexadecimal digits, "bad" where load() refuses.
class Load {
    static String hex(Object text) {
        StringBuilder out = new StringBuilder("x");
        for (char c : ((String) text).toCharArray()) out.append(String.format("%04x", (int) c));
        return out.toString();
    }

    public static void main(String[] args) throws Exception {
        StringBuilder out = new StringBuilder();
        for (int i = 0; Files.exists(Path.of(args[0], "" + i)); i++) {
            byte[] data = Files.readAllBytes(Path.of(args[0], "" + i));
            for (int encoding = 0; encoding < 2; encoding++) {
                out.append("file ").append(i).append('\n');
                Properties recorder = new Properties() {
                    @Override public synchronized Object put(Object key, Object value) {
                        out.append(hex(key)).append(' ').append(hex(value)).append('\n');
                        return null;
                    }
                };
                try {
                    if (encoding == 0) recorder.load(new ByteArrayInputStream(data));
                    else recorder.load(new InputStreamReader(new ByteArrayInputStream(data), StandardCharsets.UTF_8));
                } catch (IllegalArgumentException e) {
                    out.append("bad\n");
                }
            }
        }
        System.out.print(out);
    }
}
