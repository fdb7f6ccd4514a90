from step_runner_cut.main import main

main()
