// Keeps 64 MiB more for each line that it reads, in the heap of its runtime.
import java.io.BufferedReader;
import java.io.InputStreamReader;
import java.util.ArrayList;
import java.util.List;

public class GrowsOnDemand {
    public static void main(String[] arguments) throws Exception {
        List<byte[]> kept = new ArrayList<>();
        BufferedReader lines = new BufferedReader(new InputStreamReader(System.in));
        System.out.println("ready");
        while (lines.readLine() != null) {
            for (int block = 0; block < 1024; block++) kept.add(new byte[1 << 16]);
            System.out.println("grown");
        }
    }
}
