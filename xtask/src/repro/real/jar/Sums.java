import java.util.HashSet;
import java.util.Random;
import java.util.Set;

/** Prints what differs from one start of a Java machine to the next. */
public class Sums {
    record Sum(int one, int other) {
        int value() {
            return one + other;
        }
    }

    public static void main(String[] words) {
        Set<Object> objects = new HashSet<>();
        for (int number = 0; number < 9; number++) {
            objects.add(new Sum(number, number).value());
        }
        System.out.println(objects + " " + Set.of("a", "b", "c", "d") + " " + new Random().nextInt());
    }
}
