# Sidekiq's producer: WEBrick, a thread for each connection; `/put/KIND/ID` puts a job of this kind. Usage: shop.rb PORT.
require "webrick"
require_relative "sidekiq_jobs"

server = WEBrick::HTTPServer.new(
  Port: Integer(ARGV[0]), BindAddress: "127.0.0.1", Logger: WEBrick::Log.new(File::NULL), AccessLog: []
)
server.mount_proc("/put") do |request, response|
  _, _, kind, ident = request.path.split("/")
  {"work" => Work, "retry" => Retry}.fetch(kind).perform_async(ident)
  response.body = "put"
end
trap("TERM") { server.shutdown }
server.start
