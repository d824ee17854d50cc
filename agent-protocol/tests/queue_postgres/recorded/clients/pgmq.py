import inspect
from pgmq import PGMQueue, Message
q = PGMQueue(host='127.0.0.1', port='15432', username='postgres', password='x', database='shop', **({'init_extension': False} if 'init_extension' in inspect.signature(PGMQueue).parameters else {}))
i = q.send('mail', {'n': 1}); q.send_batch('mail', [{'n': 2}, {'n': 3}])
m = q.read('mail', vt=1); q.delete('mail', m.msg_id)
m = q.pop('mail')
for m in q.read_with_poll('mail', vt=5, qty=1): q.archive('mail', m.msg_id)
