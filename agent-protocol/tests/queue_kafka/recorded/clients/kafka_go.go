package main
import ("context";"fmt";"os";"time"; kafka "github.com/segmentio/kafka-go")
func main(){ topic:=os.Args[1]; ctx,cancel:=context.WithTimeout(context.Background(),20*time.Second); defer cancel()
 H:=[]kafka.Header{{Key:"traceparent",Value:[]byte("00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01")},{Key:"tracestate",Value:[]byte("a=1")}}
 n:=0
 for i,c:=range []kafka.Compression{0,kafka.Gzip,kafka.Snappy,kafka.Lz4,kafka.Zstd} {
  w:=&kafka.Writer{Addr:kafka.TCP("127.0.0.1:19092"),Topic:topic,BatchTimeout:20*time.Millisecond,Compression:c,RequiredAcks:kafka.RequireAll,AllowAutoTopicCreation:true}
  for try:=0;try<10;try++ { var err error
   if i==0 { err=w.WriteMessages(ctx,kafka.Message{Key:[]byte("k1"),Value:[]byte("hello-1"),Headers:H},kafka.Message{Value:[]byte("hello-2")}) } else { err=w.WriteMessages(ctx,kafka.Message{Key:[]byte("c"),Value:[]byte(fmt.Sprintf("packed-%d-xxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxx",i)),Headers:H}) }
   if err==nil {break}; time.Sleep(300*time.Millisecond) }
  if i==0 {n+=2} else {n++}
  w.Close() }
 r:=kafka.NewReader(kafka.ReaderConfig{Brokers:[]string{"127.0.0.1:19092"},GroupID:"g-"+topic,Topic:topic,StartOffset:kafka.FirstOffset,MaxWait:200*time.Millisecond})
 for i:=0;i<n;i++ { m,err:=r.FetchMessage(ctx); if err!=nil {fmt.Println(err);break}; r.CommitMessages(ctx,m); fmt.Print(m.Offset," ") }
 r.Close(); fmt.Println() }
