package main
import ("context";"fmt";"os";"time";"github.com/twmb/franz-go/pkg/kgo")
func main(){ topic:=os.Args[1]; ctx,cancel:=context.WithTimeout(context.Background(),20*time.Second); defer cancel()
 H:=[]kgo.RecordHeader{{Key:"traceparent",Value:[]byte("00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01")},{Key:"tracestate",Value:[]byte("a=1")}}
 n:=0
 for i,c:=range []kgo.CompressionCodec{kgo.NoCompression(),kgo.GzipCompression(),kgo.SnappyCompression(),kgo.Lz4Compression(),kgo.ZstdCompression()} {
  cl,err:=kgo.NewClient(kgo.SeedBrokers("127.0.0.1:19092"),kgo.ProducerBatchCompression(c),kgo.AllowAutoTopicCreation()); if err!=nil {panic(err)}
  if i==0 { cl.ProduceSync(ctx,&kgo.Record{Topic:topic,Key:[]byte("k1"),Value:[]byte("hello-1"),Headers:H},&kgo.Record{Topic:topic,Value:[]byte("hello-2")}); n+=2 } else { fmt.Println(cl.ProduceSync(ctx,&kgo.Record{Topic:topic,Key:[]byte("c"),Value:[]byte(fmt.Sprintf("packed-%d-xxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxx",i)),Headers:H}).FirstErr()); n++ }
  cl.Close() }
 cl,_:=kgo.NewClient(kgo.SeedBrokers("127.0.0.1:19092"),kgo.ConsumerGroup("g-"+topic),kgo.ConsumeTopics(topic),kgo.DisableAutoCommit(),kgo.ConsumeResetOffset(kgo.NewOffset().AtStart()))
 got:=0; for got<n { f:=cl.PollFetches(ctx); if ctx.Err()!=nil {break}; f.EachRecord(func(r *kgo.Record){got++; fmt.Print(r.Offset," ")}); cl.CommitUncommittedOffsets(ctx) }
 cl.Close(); fmt.Println(got,n) }
