/*
 * Runs the Samza job's own functions and no Samza. For tests/integration/test_streams_twins.py.
 *
 *   ActionsTwin days        lines of {"file": id, "data": base64} come in, and what is found in each, the days of each member,
 *                           and how large records became go out as JSON
 *   ActionsTwin cuts        the same lines; the days of each member where records stop to be kept after none, one, two, ... of
 *                           them, and all files come again, each answer once
 *   ActionsTwin messages    lines of {"changes": whether on that topic, "text": a message}, and for each how many messages the
 *                           job sends for it, or with which sentence it ends
 *   ActionsTwin restarts    lines of {"giveUpAfter": seconds as text} and, each an attempt, of {"began": ms, "failed": ms, "waited": ms}, and
 *                           for each attempt what it had left and the pause behind it, in milliseconds
 *   ActionsTwin read BLOB [WAIT [LEFT]]   what the job reads of a blob, within so many milliseconds without a byte and in all,
 *                                         and how it would reach Kafka
 */
import com.fasterxml.jackson.databind.JsonNode;
import com.fasterxml.jackson.databind.node.ObjectNode;
import java.io.BufferedReader;
import java.io.InputStreamReader;
import java.lang.reflect.Proxy;
import java.nio.charset.StandardCharsets;
import java.util.*;
import org.apache.samza.Partition;
import org.apache.samza.storage.kv.KeyValueStore;
import org.apache.samza.system.IncomingMessageEnvelope;
import org.apache.samza.system.OutgoingMessageEnvelope;
import org.apache.samza.system.SystemStream;
import org.apache.samza.system.SystemStreamPartition;
import org.apache.samza.task.MessageCollector;

public class ActionsTwin {
  static final Map<String, String> RECORDS = new HashMap<>();
  static int largest = 0, room = Integer.MAX_VALUE;
  static long written = 0;

  /** The changelog ends here. */
  static class Cut extends RuntimeException {}

  @SuppressWarnings("unchecked")
  static KeyValueStore<String, String> store() {
    return (KeyValueStore<String, String>)
        Proxy.newProxyInstance(
            ActionsTwin.class.getClassLoader(),
            new Class<?>[] {KeyValueStore.class},
            (self, method, a) -> {
              if (method.getName().equals("get")) return RECORDS.get((String) a[0]);
              if (!method.getName().equals("put")) throw new UnsupportedOperationException(method.getName());
              if (room-- == 0) throw new Cut();
              int bytes = ((String) a[0]).length() + ((String) a[1]).getBytes(StandardCharsets.UTF_8).length;
              largest = Math.max(largest, bytes);
              written += bytes;
              RECORDS.put((String) a[0], (String) a[1]);
              return null;
            });
  }

  public static void main(String[] a) throws Exception {
    if (a[0].equals("read")) {
      long waitMs = a.length > 2 ? Long.parseLong(a[2]) : ActionsJob.STORE_WAIT_MS;
      long leftMs = a.length > 3 ? Long.parseLong(a[3]) : ActionsJob.FOREVER;
      byte[] data = new ActionsJob.Actions("changes", "topic", "folder/", waitMs, () -> leftMs).read(a[1]);
      ObjectNode read = ActionsJob.JSON.createObjectNode().put("data", data == null ? null : new String(data, "UTF-8"));
      ActionsJob.kafkaConfig().forEach(read::put);
      System.out.println(read);
      return;
    }
    List<JsonNode> lines = new ArrayList<>();
    BufferedReader in = new BufferedReader(new InputStreamReader(System.in, StandardCharsets.UTF_8));
    for (String line; (line = in.readLine()) != null; ) lines.add(ActionsJob.JSON.readTree(line));
    if (a[0].equals("days")) {
      ObjectNode answer = folded(lines);
      System.out.println(answer.put("largest", largest).put("written", written).put("records", RECORDS.size()));
    } else if (a[0].equals("cuts")) {
      cuts(lines);
    } else if (a[0].equals("restarts")) {
      restarts(lines);
    } else {
      messages(lines);
    }
  }

  static ObjectNode folded(List<JsonNode> lines) throws Exception {
    KeyValueStore<String, String> kept = store();
    ObjectNode answer = ActionsJob.JSON.createObjectNode(), members = answer.putObject("members");
    ObjectNode files = answer.putObject("files");
    for (JsonNode said : lines) {
      if (said.has("record")) { // What another release kept.
        RECORDS.put(said.get("record").asText(), said.get("value").asText());
        continue;
      }
      String file = said.get("file").asText();
      for (Map.Entry<Long, ObjectNode> each :
          ActionsJob.parsed(file, Base64.getDecoder().decode(said.get("data").asText())).entrySet()) {
        String member = each.getKey().toString();
        files.with(file).set(member, each.getValue().deepCopy());
        members.set(member, ActionsJob.folded(kept, member, file, each.getValue()));
      }
    }
    return answer;
  }

  static void cuts(List<JsonNode> lines) throws Exception {
    Set<JsonNode> found = new LinkedHashSet<>();
    int cuts = 0;
    for (boolean cut = true; cut; cuts++) {
      RECORDS.clear();
      room = cuts;
      cut = false;
      try {
        folded(lines);
      } catch (Cut end) {
        cut = true;
      }
      room = Integer.MAX_VALUE;
      found.add(folded(lines).get("members"));
    }
    System.out.println(ActionsJob.JSON.createObjectNode().put("cuts", cuts).set("members", ActionsJob.JSON.valueToTree(found)));
  }

  static void restarts(List<JsonNode> lines) {
    ActionsJob.Restarts restarts = null;
    for (JsonNode said : lines) {
      if (said.has("giveUpAfter")) {
        restarts = new ActionsJob.Restarts(ActionsJob.giveUpAfterMs(said.get("giveUpAfter").asText()));
        continue;
      }
      long began = said.get("began").asLong(), left = restarts.leftMs(began);
      ObjectNode answer = ActionsJob.JSON.createObjectNode();
      answer.put("left", left == ActionsJob.FOREVER ? null : Long.valueOf(left));
      System.out.println(answer.put("pause", restarts.pauseMs(began, said.get("failed").asLong(), said.get("waited").asLong())));
    }
    ObjectNode bounds = ActionsJob.JSON.createObjectNode().put("soundAfter", ActionsJob.SOUND_AFTER_MS);
    System.out.println(bounds.put("storeWait", ActionsJob.STORE_WAIT_MS));
  }

  static void messages(List<JsonNode> lines) throws Exception {
    List<OutgoingMessageEnvelope> sent = new ArrayList<>();
    MessageCollector collector = sent::add;
    ActionsJob.Actions job = new ActionsJob.Actions("changes", "topic", "actions/", ActionsJob.STORE_WAIT_MS, () -> ActionsJob.FOREVER);
    job.kept = store();
    for (JsonNode said : lines) {
      sent.clear();
      SystemStream topic = new SystemStream("kafka", said.get("changes").asBoolean() ? "changes" : "topic-by-member");
      String text = said.get("text").isNull() ? null : said.get("text").asText();
      ObjectNode answer = ActionsJob.JSON.createObjectNode();
      try {
        job.process(
            new IncomingMessageEnvelope(new SystemStreamPartition(topic, new Partition(0)), "0", "17", text), collector, null);
        answer.put("sent", sent.size());
        if (sent.size() == 1) answer.set("message", ActionsJob.JSON.readTree((String) sent.get(0).getMessage()));
      } catch (Exception error) {
        answer.put("forGood", ActionsJob.isForGood(error)).put("sentence", ActionsJob.sentence(error, "b:1"));
      }
      System.out.println(answer);
    }
  }
}
