import org.apache.kafka.clients.producer.*; import org.apache.kafka.clients.consumer.*; import java.util.*; import java.time.*;
public class J { public static void main(String[] a) throws Exception {
  String topic = a[0]; String proto = a[1]; byte[] tp = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01".getBytes();
  String S="org.apache.kafka.common.serialization.StringSerializer", D="org.apache.kafka.common.serialization.StringDeserializer";
  int sent = 0;
  for (String c : new String[]{"none","gzip","snappy","lz4","zstd"}) {
    Properties p = new Properties(); p.put("bootstrap.servers","127.0.0.1:19092"); p.put("key.serializer",S); p.put("value.serializer",S); p.put("compression.type",c); p.put("linger.ms","20");
    KafkaProducer<String,String> k = new KafkaProducer<>(p);
    ProducerRecord<String,String> r = new ProducerRecord<>(topic, "k1", c.equals("none") ? "hello-1" : "packed-"+c+"-"+"x".repeat(200)); r.headers().add("traceparent", tp).add("tracestate","a=1".getBytes()); k.send(r); sent++;
    if (c.equals("none")) { ProducerRecord<String,String> r2 = new ProducerRecord<>(topic, "hello-2"); r2.headers().add("x","y".getBytes()); k.send(r2); k.send(new ProducerRecord<>(topic,"k3",null)); sent+=2; }
    k.flush(); k.close();
  }
  Properties p = new Properties(); p.put("bootstrap.servers","127.0.0.1:19092"); p.put("key.serializer",S); p.put("value.serializer",S); p.put("acks","0");
  try (KafkaProducer<String,String> k = new KafkaProducer<>(p)) { k.send(new ProducerRecord<>(topic,"no-answer")).get(); sent++; }
  p = new Properties(); p.put("bootstrap.servers","127.0.0.1:19092"); p.put("key.serializer",S); p.put("value.serializer",S); p.put("transactional.id","t-"+topic);
  try (KafkaProducer<String,String> k = new KafkaProducer<>(p)) { k.initTransactions(); k.beginTransaction(); k.send(new ProducerRecord<>(topic,"aborted")); k.flush(); k.abortTransaction(); k.beginTransaction(); k.send(new ProducerRecord<>(topic,"committed")); sent++; k.commitTransaction(); }
  p = new Properties(); p.put("bootstrap.servers","127.0.0.1:19092"); p.put("key.deserializer",D); p.put("value.deserializer",D); p.put("group.id","g-"+topic); p.put("auto.offset.reset","earliest"); p.put("enable.auto.commit","false"); p.put("group.protocol",proto); p.put("isolation.level","read_committed");
  try (KafkaConsumer<String,String> k = new KafkaConsumer<>(p)) { k.subscribe(List.of(topic)); int n=0; long t=System.currentTimeMillis(); while(n<sent && System.currentTimeMillis()-t<10000){ for (var r: k.poll(Duration.ofMillis(300))) { n++; System.out.print(r.offset()+":"+r.value()+" "); } } k.commitSync(); System.out.println(n+"/"+sent); }
}}
