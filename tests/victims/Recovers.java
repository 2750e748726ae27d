import java.io.BufferedReader;
import java.io.InputStreamReader;
import java.nio.file.Files;
import java.nio.file.Path;

/**
 * A Java program that recovers from null dereferences. HotSpot's compiled code does not check
 * before the access: HotSpot handles the SIGSEGV and turns it into a NullPointerException. The
 * method runs often enough to be compiled. Then the program prints READY, like the victims in C.
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
            dereference(real); // the compiler optimises for this: not null
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
