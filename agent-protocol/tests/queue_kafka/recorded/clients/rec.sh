# rec.sh NAME COMMAND...: records all connections of a command
cd /root/wt/kafka-victims; name=$1; shift
python3 proxy.py 19092 19090 rec/$name.rec & P=$!
sleep 0.7; timeout 60 "$@"; sleep 0.3; kill $P; wait $P; ls -l rec/$name.rec
