import Glibc

exit(await ControlProgram.run(Array(CommandLine.arguments.dropFirst())))
