/*
 * Where Java's own producer puts keys: lines of base64 come in, and a line of partitions goes out for each, of as many partitions
 * as the arguments say. For tests/support/golden_streams.py.
 */
import java.io.BufferedReader;
import java.io.InputStreamReader;
import java.util.Base64;
import org.apache.kafka.clients.producer.internals.BuiltInPartitioner;

public class KeyPartitions {
  public static void main(String[] counts) throws Exception {
    BufferedReader in = new BufferedReader(new InputStreamReader(System.in));
    for (String line; (line = in.readLine()) != null; ) {
      byte[] key = Base64.getDecoder().decode(line);
      StringBuilder places = new StringBuilder();
      for (String count : counts) {
        places.append(BuiltInPartitioner.partitionForKey(key, Integer.parseInt(count))).append(' ');
      }
      System.out.println(places.toString().strip());
    }
  }
}
