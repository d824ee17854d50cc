# What /work/SHAPE/ID calls of the leaf in Ruby: every call is GET /leaf/ID/N, so that its path says whose it is.
require "net/http"

# Calls by Net::HTTP, a connection each, or by one of two kept connections.
module Shapes
  LEAF = ENV["LEAF_URL"].to_s
  TWO = Queue.new
  JOBS = Queue.new

  def self.leaf(id, step, query = "") = URI("#{LEAF}/leaf/#{id}/#{step}#{query}")

  # An address of this host that belongs to the one request, and port 2, where nobody listens.
  def self.refused(id)
    low = id[-4..].to_i(16)
    URI("http://127.1.#{low >> 8}.#{low & 255}:2/leaf/#{id}/2")
  end

  def self.pause(id) = sleep((1 + id[-2..].to_i(16) % 8) / 1000.0)

  def self.two
    @two ||= 2.times { TWO << Net::HTTP.start(leaf("", 0).host, leaf("", 0).port) } && TWO
  end

  def self.pooled(uri)
    connection = two.pop
    connection.get(uri.path)
  ensure
    two << connection
  end

  # A pool of eight threads: who hands a job over waits for it.
  def self.hand_over(uri)
    @pool ||= 8.times.map { Thread.new { loop { job, done = JOBS.pop; done << Net::HTTP.get(job) } } }
    done = Queue.new
    JOBS << [uri, done]
    done
  end

  def self.work(shape, id)
    case shape
    when "seq" then 3.times { |step| Net::HTTP.get(leaf(id, step)) }
    when "fanout" then 4.times.map { |step| hand_over(leaf(id, step)) }.each(&:pop)
    when "handover" then 2.times { |step| hand_over(leaf(id, step)).pop }
    when "timer"
      Net::HTTP.get(leaf(id, 0))
      pause(id)
      Net::HTTP.get(leaf(id, 1))
    when "pool" then 3.times { |step| pooled(leaf(id, step)) }
    when "fail"
      [leaf(id, 0, "?fail=500"), leaf(id, 1, "?fail=close"), refused(id)].each do |uri|
        Net::HTTP.get(uri)
      rescue IOError, SystemCallError
        # The failure is what was asked for.
      end
    when "background"
      Thread.new do
        pause(id)
        Net::HTTP.get(leaf(id, 0))
      end
    else raise shape
    end
    "worked"
  end
end
