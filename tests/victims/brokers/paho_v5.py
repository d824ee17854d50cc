"""The same with MQTT 5."""

import paho.mqtt.client as mqtt

import paho_v3

paho_v3.PROTOCOL = mqtt.MQTTv5
put = paho_v3.put

if __name__ == "__main__":
    paho_v3.main()
