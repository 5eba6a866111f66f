/*
 * Folds files with the Samza job's own functions and no Samza: lines of {"file": id, "data": base64} come in, and what is found
 * in each, the days of each member, and how large records became go out as JSON. With the id of a blob it reads that one instead.
 * For tests/integration/test_streams_twins.py.
 */
import com.fasterxml.jackson.databind.JsonNode;
import com.fasterxml.jackson.databind.node.ObjectNode;
import java.io.BufferedReader;
import java.io.InputStreamReader;
import java.lang.reflect.Proxy;
import java.nio.charset.StandardCharsets;
import java.util.*;
import org.apache.samza.storage.kv.KeyValueStore;

public class ActionsTwin {
  static final Map<String, String> RECORDS = new HashMap<>();
  static int largest = 0;
  static long written = 0;

  @SuppressWarnings("unchecked")
  static KeyValueStore<String, String> store() {
    return (KeyValueStore<String, String>)
        Proxy.newProxyInstance(
            ActionsTwin.class.getClassLoader(),
            new Class<?>[] {KeyValueStore.class},
            (self, method, a) -> {
              if (method.getName().equals("get")) return RECORDS.get((String) a[0]);
              if (!method.getName().equals("put")) throw new UnsupportedOperationException(method.getName());
              int bytes = ((String) a[0]).length() + ((String) a[1]).getBytes(StandardCharsets.UTF_8).length;
              largest = Math.max(largest, bytes);
              written += bytes;
              RECORDS.put((String) a[0], (String) a[1]);
              return null;
            });
  }

  public static void main(String[] a) throws Exception {
    if (a.length == 1) { // What the job reads of a blob, and how it would reach Kafka.
      byte[] data = new ActionsJob.Actions("changes", "topic", "folder/").read(a[0]);
      ObjectNode read = ActionsJob.JSON.createObjectNode().put("data", data == null ? null : new String(data, "UTF-8"));
      ActionsJob.kafkaConfig().forEach(read::put);
      System.out.println(read);
      return;
    }
    KeyValueStore<String, String> kept = store();
    ObjectNode answer = ActionsJob.JSON.createObjectNode(), members = answer.putObject("members");
    ObjectNode files = answer.putObject("files");
    BufferedReader in = new BufferedReader(new InputStreamReader(System.in, StandardCharsets.UTF_8));
    for (String line; (line = in.readLine()) != null; ) {
      JsonNode said = ActionsJob.JSON.readTree(line);
      String file = said.get("file").asText();
      for (Map.Entry<Long, ObjectNode> each :
          ActionsJob.parsed(file, Base64.getDecoder().decode(said.get("data").asText())).entrySet()) {
        String member = each.getKey().toString();
        files.with(file).set(member, each.getValue().deepCopy());
        members.set(member, ActionsJob.folded(kept, member, file, each.getValue()));
      }
    }
    System.out.println(answer.put("largest", largest).put("written", written).put("records", RECORDS.size()));
  }
}
