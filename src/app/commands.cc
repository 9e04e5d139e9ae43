#include "app/commands.h"

namespace molesignal {

void register_commands(CLI::App& app, CommandContext& context) {
    register_standalone_command(app, context);
    register_query_command(app, context);
    register_ingest_command(app, context);
    register_token_command(app, context);
    register_doctor_command(app, context);
    register_index_command(app, context);
    register_config_command(app, context);
    register_wal_command(app, context);
    register_version_command(app, context);
}

}  // namespace molesignal
