# The Sinatra application that Puma serves for `cargo xtask accuracy`: /work/SHAPE/ID makes the shape's calls.
require "sinatra/base"
require_relative "../../ruby/shapes"

class App < Sinatra::Base
  set :environment, :production
  set :logging, false
  get("/work/:shape/:id") { Shapes.work(params["shape"], params["id"]) }
end
