import java.io.BufferedReader;
import java.io.InputStreamReader;
import java.nio.file.Files;
import java.nio.file.Path;

/**
 * A Java program that recovers from null dereferences. HotSpot's compiled code has no check before the
 * access: it takes the SIGSEGV and turns it into a NullPointerException. Enough rounds for the method to be
 * compiled. Then READY, as the victims in C.
 */
public class Recovers {
    int value;

    static int dereference(Recovers r) {
        return r.value;
    }

    public static void main(String[] arguments) throws Exception {
        int handled = 0;
        Recovers real = new Recovers();
        for (int i = 0; i < 200_000; i++) {
            dereference(real); // what the compiler optimises for: not null
        }
        for (int i = 0; i < 1000; i++) {
            try {
                dereference(null);
            } catch (NullPointerException e) {
                handled++;
            }
        }
        String ready = "READY {\"pid\":" + ProcessHandle.current().pid() + ",\"handled\":" + handled + "}\n";
        String file = System.getenv("VICTIM_TESTIMONY");
        if (file != null) {
            Files.writeString(Path.of(file), ready);
        } else {
            System.out.print(ready);
            System.out.flush();
        }
        BufferedReader lines = new BufferedReader(new InputStreamReader(System.in));
        for (int pongs = 1; lines.readLine() != null; pongs++) {
            System.out.println("pong " + pongs);
        }
    }
}
