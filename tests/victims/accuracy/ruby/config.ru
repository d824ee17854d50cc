# Puma's entry point.
require_relative "app"
run App
