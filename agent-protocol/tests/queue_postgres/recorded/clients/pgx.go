package main
import ("context";"fmt";"github.com/jackc/pgx/v5")
func main(){ ctx:=context.Background(); c,err:=pgx.Connect(ctx,"postgres://postgres@127.0.0.1:15432/shop"); if err!=nil {panic(err)}
 var id int64
 for n:=0;n<2;n++ { if err:=c.QueryRow(ctx,"INSERT INTO jobs (queue, payload) VALUES ($1, $2) RETURNING id","mail",map[string]any{"n":n}).Scan(&id);err!=nil {panic(err)} }
 b:=&pgx.Batch{}; for n:=0;n<3;n++ { b.Queue("INSERT INTO jobs (payload) VALUES ($1) RETURNING id",map[string]any{"n":n}) }; r:=c.SendBatch(ctx,b); for n:=0;n<3;n++ { if err:=r.QueryRow().Scan(&id);err!=nil {panic(err)} }; r.Close()
 for n:=0;n<2;n++ { tx,_:=c.Begin(ctx); if err:=tx.QueryRow(ctx,"SELECT id FROM jobs WHERE status = $1 ORDER BY id LIMIT 1 FOR UPDATE SKIP LOCKED","queued").Scan(&id);err!=nil {panic(err)}; tx.Exec(ctx,"UPDATE jobs SET status = $1 WHERE id = $2","done",id); tx.Commit(ctx) }
 c.Exec(ctx,"DELETE FROM jobs"); c.Close(ctx); fmt.Println(id) }
