# redis-rb.
begin
  require "redis"
rescue LoadError
  exit 77
end

path, grant = ARGV
client = Redis.new(path: path)

def ensure!(condition, what)
  raise "not so: #{what}" unless condition
end

ensure!(client.ping == "PONG", "PING")
replies = (1..11).map { client.call("CHECK", grant, "run") }
replies.first(10).each_with_index do |reply, index|
  ensure!(reply[0] == 1 && reply[2] == 9 - index && reply[5] == "allow", reply)
end
ensure!(replies[10][0].zero? && replies[10][8].start_with?("run is limited to 10 calls"), replies[10])
ensure!(client.call("PEEK", grant, "run")[0].zero?, "PEEK")
begin
  client.call("CHECK", grant)
  ensure!(false, "an error")
rescue Redis::CommandError => e
  ensure!(e.message.include?("wrong number of arguments"), e.message)
end
left = client.pipelined { |pipeline| 1000.times { pipeline.call("CHECK", grant, "big") } }.map { |reply| reply[2] }
ensure!(left.each_cons(2).all? { |one, other| other == one - 1 }, "the order of a pipeline")
ensure!(client.echo("still here") == "still here", "ECHO")
puts "ok redis-rb #{Redis::VERSION}"
