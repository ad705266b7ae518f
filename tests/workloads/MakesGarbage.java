// Makes garbage that survives young collections, so that it stays until somebody asks for a full one.
import java.util.ArrayList;
import java.util.List;

public class MakesGarbage {
    static List<byte[]> kept = new ArrayList<>();

    public static void main(String[] arguments) throws Exception {
        for (int block = 0; block < 100; block++) kept.add(new byte[1 << 20]);
        kept = new ArrayList<>();
        System.out.println("ready");
        // Until it is told to end.
        while (System.in.read() >= 0) {}
    }
}
