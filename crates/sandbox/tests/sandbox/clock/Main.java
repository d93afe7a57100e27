// What a Java program sees of a clock that waits move. Threads of its machine wait, too: of durations it tells the least.
import java.util.concurrent.*;

public class Main {
    static long begin = System.nanoTime();

    static void end(String what, long milliseconds) {
        System.out.println(what + " " + (System.nanoTime() - begin >= milliseconds * 1000000));
        begin = System.nanoTime();
    }

    public static void main(String[] words) throws Exception {
        long wall = System.currentTimeMillis();
        System.out.println(wall);
        Thread.sleep(120);
        System.out.println(System.currentTimeMillis() - wall);
        end("sleep", 120);
        Object object = new Object();
        synchronized (object) { object.wait(130); }
        end("wait", 130);
        System.out.println(new LinkedBlockingQueue<String>().poll(140, TimeUnit.MILLISECONDS));
        end("poll", 140);
        ScheduledExecutorService pool = Executors.newScheduledThreadPool(1);
        System.out.println(pool.schedule(() -> "scheduled", 150, TimeUnit.MILLISECONDS).get());
        pool.shutdown();
        System.out.println(pool.awaitTermination(5, TimeUnit.SECONDS));
        long until = System.currentTimeMillis() + 300;
        while (System.currentTimeMillis() < until) Thread.sleep(100);
        Thread.sleep(5);
        System.out.println("slept");
    }
}
