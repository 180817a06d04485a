import Glibc
import SluiceLoad

exit(await LoadProgram.run(arguments: Array(CommandLine.arguments.dropFirst())))
