# Ruby's Dalli, which speaks the binary protocol: dalli_session.rb SERVER SECOND keeps|forgets

require 'dalli'

SERVER, SECOND, FATE = ARGV
KEEPS = FATE == 'keeps'
$count = 0
$stdout.sync = true
Dalli.logger.level = Logger::FATAL

def check(what, actual, expected = true)
  $count += 1
  return if actual == expected

  abort "#{what}: expected #{expected.inspect[0, 200]}, got #{actual.inspect[0, 200]}"
end

# Has the server stopped and started again on its port.
def restart
  puts 'restart'
  abort 'the server was not restarted' if $stdin.gets != "restarted\n"
end

# Whether a call succeeds; a success is a unique, which differs from call to call.
def good(answer) = answer.is_a?(Integer) && answer.positive?

def raises(error)
  yield
  false
rescue error
  true
end

client = Dalli::Client.new(SERVER, socket_timeout: 20)
RAW = { raw: true }.freeze
many = (0...500).to_h { |number| ["many-#{number}", "value #{number}"] }
bytes = (0..255).to_a.pack('C*') * 4000
longest = 'k' * 250

# Values.
things = { 'text' => 'текст', 'number' => -17, 'float' => 2.5, 'nil' => nil, 'hash' => { a: [1, nil] } }
things.each { |key, value| check("set of #{key}", good(client.set(key, value))) }
check('flags tell the types', client.get_multi(*things.keys), things)
check('get of nothing', client.get('missing'), nil)
check('set of every byte', good(client.set('binary', bytes, nil, RAW)))
check('get of every byte', client.get('binary', RAW) == bytes)
check('set of a compressed value', good(client.set('pressed', 'x' * 5_000_000)))
check('get of a compressed value', client.get('pressed') == 'x' * 5_000_000)
check('a value too large', raises(Dalli::ValueOverMaxSize) { client.set('text', Random.bytes(1 << 21), 0, compress: false) })
check('set of nothing', good(client.set('empty', '', nil, RAW)))
check('get of nothing', client.get('empty', RAW), '')
check('set with the longest key', good(client.set(longest, 'long')))
check('get with the longest key', client.get(longest), 'long')

# Storing.
check('add', good(client.add('stored', 'added', nil, RAW)))
check('add to what is there', client.add('stored', 'other', nil, RAW), false)
check('replace', good(client.replace('stored', 'replaced', nil, RAW)))
check('replace of nothing', good(client.replace('missing', 'x', nil, RAW)), false)
check('append', client.append('stored', '-end'))
check('prepend', client.prepend('stored', 'start-'))
check('all of it', client.get('stored', RAW), 'start-replaced-end')
check('delete', client.delete('stored'))
check('delete of nothing', client.delete('stored'), nil)
check('set', good(client.set('unique', 'first')))
value, unique = client.get_cas('unique')
check('get_cas', value, 'first')
check('set_cas', good(client.set_cas('unique', 'second', unique)))
check('set_cas of a used unique', client.set_cas('unique', 'third', unique), false)
check('cas with a block', good(client.cas('unique') { |old| "#{old} third" }))
check('after cas', client.get('unique'), 'second third')
check('delete_cas of a used unique', client.delete_cas('unique', unique), false)
check('delete_cas', client.delete_cas('unique', client.get_cas('unique').last))
check('fetch', client.fetch('fetched') { 'made' }, 'made')
check('fetch again', client.fetch('fetched') { 'made anew' }, 'made')
check('incr with a first value', client.incr('counter', 1, 0, 41), 41)
check('incr', client.incr('counter', 5), 46)
check('decr', client.decr('counter', 100), 0)
check('incr beyond the largest', client.set('largest', (2**64 - 1).to_s, nil, RAW) && client.incr('largest', 3), 2)
check('incr of nothing', client.incr('missing', 1), nil)
check('touch', client.touch('fetched', 1000))
check('touch of nothing', client.touch('missing', 1000), nil)
check('gat', client.gat('fetched', 1000), 'made')
check('gat of nothing', client.gat('missing', 1000), nil)
check('set with an expiry', good(client.set('short', 'x', 1)))
deadline = Time.now + 20
sleep 0.1 while client.get('short') && Time.now < deadline
check('after the expiry', client.get('short'), nil)

# Many at once: quiet commands, whose successes are not answered.
client.multi { many.each { |key, value| client.set(key, value) } }
check('get_multi behind quiet sets', client.get_multi(*many.keys, 'missing'), many)
client.multi { many.keys.first(200).each { |key| client.delete(key) } }
check('get_multi behind quiet deletes', client.get_multi(*many.keys).size, 300)
client.set('counter', '0', nil, RAW)
threads = Array.new(20) { Thread.new { own = Dalli::Client.new(SERVER); 50.times { own.incr('counter') } } }
threads.each(&:join)
check('each increment counts once', client.get('counter', RAW), '1000')
spread = Dalli::Client.new([SERVER, SECOND], socket_timeout: 20)
many.each { |key, value| spread.set(key, value) }
check('get_multi over two servers', spread.get_multi(*many.keys), many)
check('both have a part', Dalli::Client.new(SECOND).get_multi(*many.keys).size.between?(1, 499))

# The server.
check('version', client.version[SERVER].match?(/\A\d+\.\d+\.\d+\z/))
check('stats', client.stats[SERVER].values_at('pid', 'cmd_get', 'curr_items').all? { |figure| figure.match?(/\A\d+\z/) })
check('stats settings', client.stats(:settings)[SERVER]['tcpport'], SERVER.split(':').last)
check('reset_stats', client.reset_stats, [true])
check('and they are', client.stats[SERVER]['cmd_set'], '0')

# Through a restart.
check('flush', client.flush, [true])
check('all is flushed', client.get_multi(*many.keys), {})
many.each { |key, value| client.set(key, value, 1000) }
check('set of every byte', good(client.set('binary', bytes, nil, RAW)))
unique = client.get_cas('many-7').last
restart
check('get_multi after a restart', client.get_multi(*many.keys), KEEPS ? many : {})
check('every byte', client.get('binary', RAW) == bytes, KEEPS)
check('set_cas knows its unique', good(client.set_cas('many-7', 'cas', unique)), KEEPS)
puts "Dalli #{Dalli::VERSION}: #{$count} checks"
