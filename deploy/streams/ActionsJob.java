/*
 * The twin of `ambry stream actions` as a Samza job: the same topics, the same counts (ambry/streams/windows.py says the rules).
 *
 *   java -cp CLASSES:JARS/* ActionsJob BROKERS CHANGES TOPIC FOLDER STATE_DIRECTORY
 *
 * It reads changes on the topic CHANGES, fetches files of actions below FOLDER by their ids from AMBRY_ENDPOINTS, one after the
 * other while one does not answer (with the key in AMBRY_KEY or in the first line of AMBRY_KEY_FILE, if there is one), and writes
 * the days of each member to TOPIC. State is in RocksDB with a changelog in Kafka. A message may be processed twice; a member takes
 * each file once, so that changes nothing. Replication of the topics that Samza makes: -Dreplication=3. Properties of Kafka's
 * clients, as Java calls them: -Dkafka.config=FILE. While brokers or the store are away the job is set up again and again, and
 * says so; after -Dgive.up.after=SECONDS (3600, or "forever") without a sound attempt it ends with exit code 5, and with 1 for
 * what somebody has to see to.
 */
import com.fasterxml.jackson.core.JsonProcessingException;
import com.fasterxml.jackson.databind.DeserializationFeature;
import com.fasterxml.jackson.databind.JsonNode;
import com.fasterxml.jackson.databind.ObjectMapper;
import com.fasterxml.jackson.databind.node.MissingNode;
import com.fasterxml.jackson.databind.node.ObjectNode;
import com.fasterxml.jackson.databind.node.TextNode;
import java.io.ByteArrayOutputStream;
import java.io.IOException;
import java.io.InputStream;
import java.io.Reader;
import java.io.UncheckedIOException;
import java.net.URI;
import java.net.http.HttpClient;
import java.net.http.HttpRequest;
import java.net.http.HttpResponse;
import java.nio.ByteBuffer;
import java.nio.charset.StandardCharsets;
import java.nio.file.Files;
import java.nio.file.Path;
import java.time.DateTimeException;
import java.time.Duration;
import java.time.Instant;
import java.time.LocalDate;
import java.time.ZoneOffset;
import java.util.*;
import java.util.concurrent.CompletableFuture;
import java.util.concurrent.ExecutionException;
import java.util.concurrent.TimeUnit;
import java.util.concurrent.TimeoutException;
import java.util.function.LongSupplier;
import org.apache.kafka.clients.admin.Admin;
import org.apache.kafka.clients.admin.CreateTopicsOptions;
import org.apache.kafka.clients.admin.NewTopic;
import org.apache.kafka.clients.consumer.OffsetOutOfRangeException;
import org.apache.kafka.common.KafkaException;
import org.apache.kafka.common.KafkaFuture;
import org.apache.kafka.common.config.ConfigException;
import org.apache.kafka.common.errors.AuthenticationException;
import org.apache.kafka.common.errors.AuthorizationException;
import org.apache.kafka.common.errors.RecordTooLargeException;
import org.apache.kafka.common.errors.TopicExistsException;
import org.apache.kafka.common.errors.UnknownTopicOrPartitionException;
import org.apache.samza.application.TaskApplication;
import org.apache.samza.application.descriptors.TaskApplicationDescriptor;
import org.apache.samza.config.MapConfig;
import org.apache.samza.context.Context;
import org.apache.samza.job.ApplicationStatus;
import org.apache.samza.runtime.LocalApplicationRunner;
import org.apache.samza.serializers.KVSerde;
import org.apache.samza.serializers.StringSerde;
import org.apache.samza.storage.kv.KeyValueStore;
import org.apache.samza.system.*;
import org.apache.samza.system.kafka.descriptors.KafkaSystemDescriptor;
import org.apache.samza.task.*;
import org.slf4j.Logger;
import org.slf4j.LoggerFactory;

public class ActionsJob implements TaskApplication {
  static final int DAYS_MAX = 400;
  static final int ACTION_LENGTH_MAX = 100;
  static final int ACTIONS_OF_A_DAY_MAX = 64;
  static final int DAY_SIZE_MAX = 1_780;
  static final long TIMES_MAX = 9_999_999_999L;
  static final long DAY_MS = 86_400_000L;
  static final long READ_MAX = 64L << 20;
  static final int PIECE = 64 << 10;
  static final long ASK_MS = 10_000, PAUSE_MS = 1_000, PAUSE_MAX_MS = 30_000;
  // While nothing new comes; then the job is set up again. Well below SOUND_AFTER_MS: an attempt that waits is not sound.
  static final long STORE_WAIT_MS = 30_000;
  static final long SOUND_AFTER_MS = 150_000;
  static final long FOREVER = Long.MAX_VALUE;
  static final String DROPPED =
      "Kafka's retention dropped messages that the job had not read, so what they said is not counted. Publish the changes once"
          + " more, from the beginning, and start the job with an empty STATE_DIRECTORY and another TOPIC; a member takes each"
          + " file once";
  static final Logger LOG = LoggerFactory.getLogger(ActionsJob.class);
  static final Comparator<String> BY_BYTES =
      (one, other) -> Arrays.compareUnsigned(one.getBytes(StandardCharsets.UTF_8), other.getBytes(StandardCharsets.UTF_8));
  static final ObjectMapper JSON = new ObjectMapper().enable(DeserializationFeature.FAIL_ON_TRAILING_TOKENS);

  final String brokers, changes, topic, folder;
  final LongSupplier leftMs;

  ActionsJob(String brokers, String changes, String topic, String folder, LongSupplier leftMs) {
    this.leftMs = leftMs;
    this.brokers = brokers;
    this.changes = changes;
    this.topic = topic;
    this.folder = folder;
  }

  @Override
  public void describe(TaskApplicationDescriptor d) {
    KafkaSystemDescriptor kafka =
        new KafkaSystemDescriptor("kafka")
            // Samza asks for one, and never connects to it.
            .withConsumerZkConnect(List.of("127.0.0.1:1"))
            .withProducerBootstrapServers(List.of(brokers.split(",")));
    KVSerde<String, String> text = KVSerde.of(new StringSerde(), new StringSerde());
    for (String input : List.of(changes, topic + "-by-member")) {
      d.withInputStream(
          kafka.getInputDescriptor(input, text).withOffsetDefault(SystemStreamMetadata.OffsetType.OLDEST));
    }
    // Not the topic by member: what is an input and an output has a byte of Samza's own before each message.
    d.withOutputStream(kafka.getOutputDescriptor(topic, text));
    d.withTaskFactory((StreamTaskFactory) () -> new Actions(changes, topic, folder, STORE_WAIT_MS, leftMs));
  }

  /** The store's answer, which is the same tomorrow. */
  static class StoreRefused extends RuntimeException {
    StoreRefused(String why) {
      super(why);
    }
  }

  /** A file did not come, or was still coming when the job was to be given up; it was read in vain for so long. */
  static class ReadFailed extends RuntimeException {
    final long waitedMs;

    ReadFailed(String why, long waitedMs) {
      super(why);
      this.waitedMs = waitedMs;
    }
  }

  /** A message that is none of a publisher or of a job. */
  static class NoMessage extends RuntimeException {
    NoMessage(String what, String message) {
      super("a message is " + what + ": " + (message == null || message.length() <= 80 ? message : message.substring(0, 80) + "..."));
    }
  }

  /** What stands on the topic of changes is split by member; what adds to a member is added to its days. */
  static class Actions implements StreamTask, InitableTask {
    final String changes, folder;
    final SystemStream byMember, members;
    final HttpClient http = HttpClient.newBuilder().connectTimeout(Duration.ofSeconds(5)).build();
    final String[] endpoints = endpoints();
    final String key;
    final long storeWaitMs;
    final LongSupplier leftMs;
    int endpoint = 0;
    KeyValueStore<String, String> kept;

    /** A file that is asked for has `leftMs` in all, and nothing new may come of it for `storeWaitMs`. */
    Actions(String changes, String topic, String folder, long storeWaitMs, LongSupplier leftMs) {
      try {
        key = key(System.getenv());
      } catch (IOException error) {
        throw new IllegalStateException("the key's file cannot be read: " + error);
      }
      this.changes = changes;
      this.folder = folder;
      this.storeWaitMs = storeWaitMs;
      this.leftMs = leftMs;
      byMember = new SystemStream("kafka", topic + "-by-member");
      members = new SystemStream("kafka", topic);
    }

    @Override
    @SuppressWarnings("unchecked")
    public void init(Context context) {
      kept = (KeyValueStore<String, String>) context.getTaskContext().getStore("members");
    }

    @Override
    public void process(IncomingMessageEnvelope envelope, MessageCollector out, TaskCoordinator coordinator)
        throws Exception {
      String text = (String) envelope.getMessage();
      JsonNode told = text == null ? MissingNode.getInstance() : JSON.readTree(text);
      if (!envelope.getSystemStreamPartition().getStream().equals(changes)) {
        if (!isPart(told)) throw new NoMessage("not what a file adds to a member", text);
        String member = told.get("member").asText();
        ObjectNode said = JSON.createObjectNode().put("member", told.get("member").asLong());
        said.set("days", folded(kept, member, told.get("file").asText(), told.get("days")));
        out.send(message(members, member, said));
        return;
      }
      if (!isChange(told, folder)) throw new NoMessage("no change", text);
      if (!told.get("type").asText().equals("name.put") || !told.get("name").asText().startsWith(folder)) return;
      String file = told.get("id").asText();
      byte[] data = read(file);
      if (data == null) return;
      for (Map.Entry<Long, ObjectNode> each : parsed(file, data).entrySet()) {
        ObjectNode part = JSON.createObjectNode().put("member", each.getKey()).put("file", file);
        part.set("days", each.getValue());
        out.send(message(byMember, each.getKey().toString(), part));
      }
    }

    /** Without a partition key: Samza would hash it in its own way, and a member would be elsewhere than the twin has it. */
    static OutgoingMessageEnvelope message(SystemStream topic, String member, ObjectNode said) {
      return new OutgoingMessageEnvelope(topic, null, member, said.toString());
    }

    /** The bytes of a blob; null for one that is gone or too large. As in ambry/streams/reads.py: any bytes are progress. */
    byte[] read(String blob) throws Exception {
      Waits waits = new Waits(storeWaitMs, leftMs.getAsLong());
      while (true) {
        String why;
        // One that says nothing leaves time for the others.
        long share = Math.min(ASK_MS, waits.waitMs / endpoints.length);
        Duration bound = Duration.ofMillis(Math.max(1_000, Math.min(share, waits.until - nowMs())));
        HttpRequest.Builder asked =
            HttpRequest.newBuilder(URI.create(endpoints[endpoint] + "/" + blob)).timeout(bound);
        if (key != null) asked.header("Authorization", "Bearer " + key);
        try {
          HttpResponse<InputStream> answer = http.send(asked.build(), HttpResponse.BodyHandlers.ofInputStream());
          try (InputStream body = answer.body()) {
            int status = answer.statusCode();
            if (status == 200) {
              byte[] data = bytesOf(body, bound, waits);
              if (data.length <= READ_MAX) return data;
              LOG.warn("a file of actions is too large, and left out: blob {}, more than {} bytes", blob, READ_MAX);
              return null;
            }
            if (status == 404 || status == 410) return null;
            why = "the store answered " + status + " for " + blob;
            if (status < 500 && status != 429) throw new StoreRefused(why);
          }
        } catch (IOException error) {
          why = "the store does not answer for " + blob + ": " + error;
        }
        if (nowMs() >= Math.min(waits.until, waits.end)) throw new ReadFailed(why, nowMs() - waits.began);
        endpoint = (endpoint + 1) % endpoints.length;
        // All of them at once, and then a pause.
        if (endpoint == 0) Thread.sleep(1000);
      }
    }
  }

  /** Those of one file. */
  static class Waits {
    final long waitMs, end, began = nowMs();
    long until, most = 0;

    Waits(long storeWaitMs, long leftMs) {
      waitMs = Math.min(storeWaitMs, leftMs);
      until = began + waitMs;
      end = leftMs == FOREVER ? FOREVER : began + leftMs;
    }

    /** So many bytes, from the beginning: what comes again is no progress. */
    void came(long size) {
      if (size <= most) return;
      most = size;
      until = nowMs() + waitMs;
    }
  }

  /** What comes, up to a byte more than may. Each silence of it has this long, which a request's own bound does not hold. */
  static byte[] bytesOf(InputStream body, Duration bound, Waits waits) throws IOException, InterruptedException {
    ByteArrayOutputStream all = new ByteArrayOutputStream();
    while (all.size() <= READ_MAX) {
      CompletableFuture<byte[]> next = CompletableFuture.supplyAsync(() -> pieceOf(body));
      byte[] piece;
      try {
        piece = next.get(bound.toMillis(), TimeUnit.MILLISECONDS);
      } catch (TimeoutException error) {
        throw new IOException("it stopped after " + all.size() + " bytes");
      } catch (ExecutionException error) {
        throw new IOException(error.getCause().getMessage(), error);
      }
      if (piece.length == 0) break;
      all.writeBytes(piece);
      waits.came(all.size());
      if (nowMs() >= waits.end) throw new IOException(all.size() + " bytes came in the time that was left");
    }
    return all.toByteArray();
  }

  /** What is there, a byte at least; nothing at the end. */
  static byte[] pieceOf(InputStream body) {
    try {
      byte[] room = new byte[PIECE];
      return Arrays.copyOf(room, Math.max(0, body.read(room)));
    } catch (IOException error) {
      throw new UncheckedIOException(error);
    }
  }

  /** Whether it is a change, with all that is read of it. */
  static boolean isChange(JsonNode told, String folder) {
    if (!told.path("type").isTextual()) return false;
    if (!told.get("type").asText().equals("name.put")) return true;
    return told.path("name").isTextual() && (!told.get("name").asText().startsWith(folder) || isBlob(told.path("id")));
  }

  /** Whether it is what a file adds to a member: of days that there are, each with actions that may be, and counts. */
  static boolean isPart(JsonNode told) {
    JsonNode days = told.path("days");
    boolean sound = isWhole(told.path("member")) && isBlob(told.path("file")) && days.isObject();
    for (Iterator<Map.Entry<String, JsonNode>> each = days.fields(); sound && each.hasNext(); ) {
      Map.Entry<String, JsonNode> day = each.next();
      sound = isDay(day.getKey()) && day.getValue().isObject() && !day.getValue().isEmpty();
      for (Iterator<Map.Entry<String, JsonNode>> one = day.getValue().fields(); sound && one.hasNext(); ) {
        Map.Entry<String, JsonNode> action = one.next();
        sound = isAction(TextNode.valueOf(action.getKey())) && isWhole(action.getValue());
        sound = sound && action.getValue().asLong() > 0 && action.getValue().asLong() <= TIMES_MAX;
      }
    }
    return sound;
  }

  static boolean isWhole(JsonNode number) {
    return number.isIntegralNumber() && number.canConvertToLong();
  }

  /** As far as its characters tell: the store knows the rest. */
  static boolean isBlob(JsonNode id) {
    return id.isTextual() && id.asText().matches("[A-Za-z0-9_-]{48}");
  }

  static boolean isDay(String text) {
    try {
      return text.length() == 10 && LocalDate.parse(text).getYear() > 0;
    } catch (DateTimeException error) {
      return false;
    }
  }

  /** What a file adds to each member, as days of actions. */
  static Map<Long, ObjectNode> parsed(String file, byte[] data) {
    // A blob id holds a UUIDv7, which begins with the time (RFC 9562).
    byte[] raw = Base64.getUrlDecoder().decode(file);
    long latest = (ByteBuffer.wrap(raw, 16, 8).getLong() >>> 16) + DAY_MS;
    Map<Long, ObjectNode> found = new LinkedHashMap<>();
    int wrong = 0;
    for (int begin = 0, end; begin < data.length; begin = end + 1) {
      for (end = begin; end < data.length && data[end] != '\n' && data[end] != '\r'; ) end++;
      JsonNode line;
      try {
        String text = StandardCharsets.UTF_8.newDecoder().decode(ByteBuffer.wrap(data, begin, end - begin)).toString();
        line = JSON.readTree(text.startsWith("\ufeff") ? text.substring(1) : text);
      } catch (IOException error) {
        wrong++;
        continue;
      }
      if (line.isMissingNode()) continue;
      JsonNode member = line.path("member"), action = line.path("action"), at = line.path("at");
      boolean sound = isWhole(member) && isAction(action);
      sound = sound && isWhole(at) && at.asLong() >= 0 && at.asLong() <= latest;
      if (!sound) {
        wrong++;
        continue;
      }
      String day = Instant.ofEpochMilli(at.asLong()).atOffset(ZoneOffset.UTC).toLocalDate().toString();
      ObjectNode days = found.computeIfAbsent(member.asLong(), key -> JSON.createObjectNode());
      increase(days, day, action.asText(), 1);
    }
    if (wrong > 0) LOG.warn("lines are no actions: blob {}, {} lines", file, wrong);
    for (ObjectNode days : found.values()) bound(days);
    return found;
  }

  static boolean isAction(JsonNode action) {
    String text = action.isTextual() ? action.asText() : null;
    return text != null
        && text.codePointCount(0, text.length()) <= ACTION_LENGTH_MAX
        && StandardCharsets.UTF_8.newEncoder().canEncode(text);
  }

  /**
   * Add what a file adds, once, and return the days of the member: a record with them and the last file that is in them, and one
   * for each file. Samza may restore a changelog that ends between the two that a file makes: the one with the days is the first,
   * and says which file may lack one of its own.
   */
  static ObjectNode folded(KeyValueStore<String, String> kept, String member, String file, JsonNode days)
      throws IOException {
    String before = kept.get(member), once = member + " ";
    JsonNode record = JSON.readTree(before == null ? "{}" : before);
    String last = record.path("last").asText();
    // What a release before this one kept are the days alone.
    ObjectNode sums = (ObjectNode) (record.has("days") ? record.get("days") : record);
    if (days.isEmpty() || file.equals(last) || kept.get(once + file) != null) return sums;
    if (!last.isEmpty() && kept.get(once + last) == null) kept.put(once + last, "true");
    days.fields().forEachRemaining(
        day -> day.getValue().fields().forEachRemaining(
            action -> increase(sums, day.getKey(), action.getKey(), action.getValue().asLong())));
    bound(sums);
    ObjectNode after = JSON.createObjectNode().put("last", file);
    kept.put(member, after.set("days", sums).toString());
    kept.put(once + file, "true");
    return sums;
  }

  static void bound(ObjectNode days) {
    TreeSet<String> named = new TreeSet<>();
    days.fieldNames().forEachRemaining(named::add);
    String oldest = LocalDate.parse(named.last()).minusDays(DAYS_MAX).toString();
    days.remove(named.headSet(oldest, true));
    for (JsonNode actions : days) {
      List<String> names = new ArrayList<>();
      actions.fieldNames().forEachRemaining(names::add);
      names.sort(BY_BYTES);
      int first = 0, room = DAY_SIZE_MAX;
      while (first < Math.min(names.size(), ACTIONS_OF_A_DAY_MAX) && room >= 0) room -= size(names.get(first++));
      if (first < names.size()) ((ObjectNode) actions).retain(names.subList(0, first));
    }
  }

  /** Bytes of an action in JSON, at most: its name, of which some characters become two or six, and 14 beside it. */
  static int size(String action) {
    int escapes = action.chars().map(c -> c < ' ' ? 5 : c == '"' || c == '\\' ? 1 : 0).sum();
    return action.getBytes(StandardCharsets.UTF_8).length + escapes + 14;
  }

  static void increase(ObjectNode days, String day, String action, long times) {
    ObjectNode sum = days.has(day) ? (ObjectNode) days.get(day) : days.putObject(day);
    sum.put(action, Math.min(sum.path(action).asLong() + times, TIMES_MAX));
  }

  static String[] endpoints() {
    return Arrays.stream(System.getenv("AMBRY_ENDPOINTS").split(","))
        .map(each -> each.strip().replaceAll("/+$", ""))
        .filter(each -> !each.isEmpty())
        .toArray(String[]::new);
  }

  /** The key, or the first line of its file; null for neither. */
  static String key(Map<String, String> environment) throws IOException {
    String key = environment.getOrDefault("AMBRY_KEY", "").strip(), file = environment.getOrDefault("AMBRY_KEY_FILE", "");
    if (key.isEmpty() && !file.isEmpty()) key = Files.readString(Path.of(file)).lines().findFirst().orElse("").strip();
    return key.isEmpty() ? null : key;
  }

  /** Properties of Kafka's clients, of the file in -Dkafka.config. */
  static Map<String, String> kafkaConfig() throws IOException {
    Properties read = new Properties();
    String file = System.getProperty("kafka.config");
    if (file != null) {
      try (Reader in = Files.newBufferedReader(Path.of(file))) {
        read.load(in);
      }
    }
    Map<String, String> config = new HashMap<>();
    for (String name : read.stringPropertyNames()) config.put(name, read.getProperty(name).strip());
    return config;
  }

  /** The topics are there on return, dated by the broker's clock where they are made. Brokers have so long to answer, or less. */
  static void make(String brokers, Map<String, String> config, long askMs, String... topics) throws Exception {
    Map<String, Object> asked = new HashMap<>(Map.of("request.timeout.ms", Long.toString(askMs)));
    asked.putAll(config);
    asked.put("bootstrap.servers", brokers);
    String given = config.getOrDefault("request.timeout.ms", "");
    if (given.matches("[0-9]{1,9}")) askMs = Math.min(askMs, Long.parseLong(given));
    List<NewTopic> made = new ArrayList<>();
    for (String topic : topics) {
      NewTopic each = new NewTopic(topic, Optional.empty(), Optional.empty());
      made.add(each.configs(Map.of("message.timestamp.type", "LogAppendTime")));
    }
    Admin admin = Admin.create(asked);
    try {
      CreateTopicsOptions within = new CreateTopicsOptions().timeoutMs((int) askMs);
      for (KafkaFuture<Void> each : admin.createTopics(made, within).values().values()) {
        try {
          each.get();
        } catch (ExecutionException error) {
          if (!(error.getCause() instanceof TopicExistsException)) throw error;
        }
      }
    } finally {
      // What has not answered by now is not waited for once more.
      admin.close(Duration.ZERO);
    }
  }

  /**
   * One attempt, until the job is told to end. What ended it is thrown. It has so long for each answer of brokers before its
   * begin, and for each file of the store.
   */
  static void attempt(String[] a, Map<String, String> config, LongSupplier leftMs) throws Throwable {
    String brokers = a[0], topic = a[2];
    make(brokers, config, Math.min(ASK_MS, leftMs.getAsLong()), a[1], topic + "-by-member", topic);
    ActionsJob job = new ActionsJob(brokers, a[1], topic, a[3], leftMs);
    LocalApplicationRunner runner = new LocalApplicationRunner(job, new MapConfig(samzaConfig(a, config)));
    runner.run();
    runner.waitForFinish();
    ApplicationStatus status = runner.status();
    if (status.getStatusCode() == ApplicationStatus.StatusCode.UnsuccessfulFinish) throw status.getThrowable();
  }

  /** When a job that failed is set up again, and when it is given up, as in ambry/streams/restarts.py. In milliseconds. */
  static class Restarts {
    final long giveUpAfterMs;
    Long failingSince = null;
    long pauseMs = PAUSE_MS;

    Restarts(long giveUpAfterMs) {
      this.giveUpAfterMs = giveUpAfterMs;
    }

    /** For an attempt that begins now, a second at least: when it is given up that does not become sound. */
    long leftMs(long now) {
      if (giveUpAfterMs == FOREVER) return FOREVER;
      return Math.max(1_000, giveUpAfterMs - (failingSince == null ? 0 : now - failingSince));
    }

    /** For what begins now in an attempt that began then: as much as that had, and in a sound one as in a first one. */
    long leftMs(long now, long began) {
      return now - began >= SOUND_AFTER_MS ? giveUpAfterMs : leftMs(began);
    }

    /** How long to wait after an attempt that began then and failed now, having waited so long in vain; null to give up. */
    Long pauseMs(long began, long now, long waitedMs) {
      boolean isSound = now - waitedMs - began >= SOUND_AFTER_MS;
      if (failingSince == null || isSound) {
        failingSince = isSound ? now - waitedMs : began;
        pauseMs = PAUSE_MS;
      }
      long pause = pauseMs;
      pauseMs = Math.min(2 * pauseMs, PAUSE_MAX_MS);
      if (giveUpAfterMs == FOREVER) return pause;
      long left = giveUpAfterMs - (now - failingSince);
      return left > 0 ? Math.min(pause, left) : null;
    }
  }

  /** Since some moment of this process; no clock that is set changes it. */
  static long nowMs() {
    return System.nanoTime() / 1_000_000;
  }

  /** What -Dgive.up.after says, in milliseconds; null for what is no number of seconds. */
  static Long giveUpAfterMs(String text) {
    if (text.equals("forever")) return FOREVER;
    return text.matches("[0-9]{1,9}") ? Long.valueOf(1_000 * Long.parseLong(text)) : null;
  }

  /** Whether somebody has to see to it: what is over by itself, brokers that are away first of all, is waited for. */
  static boolean isForGood(Throwable error) {
    for (Throwable at = error; at != null; at = at.getCause()) {
      if (at instanceof OffsetOutOfRangeException || at instanceof RecordTooLargeException) return true;
      if (at instanceof AuthenticationException || at instanceof AuthorizationException) return true;
      if (at instanceof StoreRefused || at instanceof JsonProcessingException || at instanceof NoMessage) return true;
      if (at instanceof ConfigException || at instanceof UnknownTopicOrPartitionException) return true;
    }
    return false;
  }

  static long waitedMs(Throwable error) {
    for (Throwable at = error; at != null; at = at.getCause()) if (at instanceof ReadFailed) return ((ReadFailed) at).waitedMs;
    return 0;
  }

  /** What it was caused by, and what is to be done. */
  static String sentence(Throwable error, String brokers) {
    Throwable cause = error;
    for (Throwable at = error; at != null; at = at.getCause()) {
      if (at instanceof OffsetOutOfRangeException) return DROPPED;
      if (at instanceof NoMessage) return at.getMessage() + "; is it another topic?";
      if (at instanceof JsonProcessingException)
        return "a message is none of a publisher or of a job; is it another topic? " + at.getMessage();
      cause = at;
    }
    String told = cause.getMessage() == null ? cause.toString() : cause.getClass().getSimpleName() + ": " + cause.getMessage();
    return cause instanceof KafkaException ? "Kafka at " + brokers + ": " + told : told;
  }

  public static void main(String[] a) throws Exception {
    if (a.length != 5 || System.getenv("AMBRY_ENDPOINTS") == null || endpoints().length == 0) {
      System.err.println("ActionsJob BROKERS CHANGES TOPIC FOLDER STATE_DIRECTORY, with the store in AMBRY_ENDPOINTS");
      System.exit(2);
    }
    String bound = System.getProperty("give.up.after", "3600");
    Long giveUpAfterMs = giveUpAfterMs(bound);
    if (giveUpAfterMs == null) {
      System.err.println("-Dgive.up.after=" + bound + " is no number of seconds; say one such as 900, or forever");
      System.exit(2);
    }
    Map<String, String> config = kafkaConfig();
    Restarts restarts = new Restarts(giveUpAfterMs);
    while (true) {
      long began = nowMs();
      Throwable error;
      try {
        attempt(a, config, () -> restarts.leftMs(nowMs(), began));
        return;
      } catch (Throwable thrown) {
        error = thrown;
      }
      if (isForGood(error)) {
        System.err.println(sentence(error, a[0]));
        System.exit(1);
      }
      Long pause = restarts.pauseMs(began, nowMs(), waitedMs(error));
      if (pause == null) {
        System.err.println(sentence(error, a[0]) + "; the same command goes on where it was");
        System.exit(5);
      }
      System.err.println(sentence(error, a[0]) + "; the job goes on where it was in " + Math.round(pause / 1e3) + " s");
      Thread.sleep(pause);
    }
  }

  static Map<String, String> samzaConfig(String[] a, Map<String, String> config) {
    String topic = a[2], replication = System.getProperty("replication", "1");
    Map<String, String> c = new HashMap<>();
    // What was not read is not to be passed over.
    c.put("systems.kafka.consumer.auto.offset.reset", "none");
    // By default this client takes the word of one broker, and asks for the end of what all have.
    c.put("systems.kafka.producer.acks", "all");
    config.forEach(
        (name, value) -> {
          c.put("systems.kafka.consumer." + name, value);
          c.put("systems.kafka.producer." + name, value);
        });
    c.put("app.name", topic);
    c.put("app.id", "1");
    c.put("job.name", topic);
    c.put("job.id", "1");
    c.put("job.coordinator.factory", "org.apache.samza.standalone.PassthroughJobCoordinatorFactory");
    c.put("job.coordination.utils.factory", "org.apache.samza.standalone.PassthroughCoordinationUtilsFactory");
    c.put("job.coordinator.system", "kafka");
    c.put("job.coordinator.replication.factor", replication);
    c.put("processor.id", "0");
    c.put("task.name.grouper.factory", "org.apache.samza.container.grouper.task.SingleContainerGrouperFactory");
    c.put("task.checkpoint.factory", "org.apache.samza.checkpoint.kafka.KafkaCheckpointManagerFactory");
    c.put("task.checkpoint.system", "kafka");
    c.put("task.checkpoint.replication.factor", replication);
    c.put("task.commit.ms", "1000");
    c.put("serializers.registry.text.class", "org.apache.samza.serializers.StringSerdeFactory");
    c.put("systems.kafka.default.stream.samza.key.serde", "text");
    c.put("systems.kafka.default.stream.samza.msg.serde", "text");
    c.put("stores.members.factory", "org.apache.samza.storage.kv.RocksDbKeyValueStorageEngineFactory");
    c.put("stores.members.key.serde", "text");
    c.put("stores.members.msg.serde", "text");
    c.put("stores.members.changelog", "kafka." + topic + "-members-changelog");
    c.put("stores.members.changelog.replication.factor", replication);
    // A commit flushes the producers, then the store, and then asks where the changelog ends: what a cache gives to the producer
    // only then is behind that place, and is lost with the local state, as its messages are told as processed.
    c.put("stores.members.object.cache.size", "0");
    c.put("stores.members.write.batch.size", "0");
    // Before the first commit nothing in the changelog is known to be whole: it all comes again.
    c.put("task.transactional.state.retain.existing.state", "false");
    c.put("job.logged.store.base.dir", a[4]);
    c.put("job.non-logged.store.base.dir", a[4]);
    return c;
  }
}
