# The Ruby victim: WEBrick, one thread per connection, Net::HTTP as its client. Usage: server.rb PORT.
require "webrick"
require "net/http"
require_relative "shapes"

leaf = ENV["LEAF_URL"].to_s
server = WEBrick::HTTPServer.new(
  BindAddress: "127.0.0.1", Port: Integer(ARGV[0]), AccessLog: [], Logger: WEBrick::Log.new(File::NULL)
)
server.mount_proc "/" do |request, response|
  parts = request.path[1..].split("/")
  case parts[0]
  when "work"
    response.body = parts[2] ? Shapes.work(parts[1], parts[2]) : "worked " + Net::HTTP.get(URI("#{leaf}/leaf/#{parts[1]}/0"))
  when "slow"
    sleep((request.query["ms"] || "300").to_f / 1000)
    response.body = "slow"
  when "status"
    response.status = Integer(parts[1])
    response.body = "status" unless [204, 304].include?(response.status)
  when "echo"
    response.body = request.body.to_s.bytesize.to_s
  when "chunked"
    response.chunked = true
    response.body = proc { |out| 5.times { |part| out.write("part #{part}\n") } }
  else
    response.body = "leaf #{request.path}"
  end
end
trap("TERM") { server.shutdown }
server.start
