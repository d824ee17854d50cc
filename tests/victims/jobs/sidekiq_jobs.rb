# Sidekiq's jobs: each processor is a thread that fetches and works.
$stdout.sync = true
require "net/http"
require "sidekiq"

# Tells a job how often it was tried, whichever worker it comes to.
class Attempts
  def call(_worker, job, _queue)
    Thread.current[:attempt] = job.key?("retry_count") ? 1 : 0
    yield
  end
end

url = {url: "redis://127.0.0.1:#{ENV.fetch("REDIS_PORT")}/0"}
Sidekiq.configure_client { |config| config.redis = url }
Sidekiq.configure_server do |config|
  config.redis = url
  config.on(:startup) { puts "ready" }
  config.server_middleware { |chain| chain.add Attempts }
  # Looks for jobs that are due each second, not each 15.
  Sidekiq.options[:poll_interval_average] = 1 if Sidekiq.respond_to?(:options)
  # Sidekiq puts up to ten random seconds on top of each delay; a test does not wait for them.
  require "sidekiq/job_retry"
  Sidekiq::JobRetry.class_eval { def rand(_) = 0 }
end

LEAF = ENV.fetch("LEAF_URL", "")

def fetch(ident, step)
  Net::HTTP.get(URI("#{LEAF}/leaf/#{ident}/#{step}"))
end

class Work
  include Sidekiq::Worker
  def perform(ident)
    fetch(ident, 0)
    sleep 0.02
    fetch(ident, 1)
  end
end

class Retry
  include Sidekiq::Worker
  sidekiq_options retry: 2
  sidekiq_retry_in { 1 }
  def perform(ident)
    number = Thread.current[:attempt]
    fetch(ident, number)
    raise "tried again" if number == 0
  end
end
