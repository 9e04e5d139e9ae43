#pragma once

#include <memory>

#include "api/grpc/export_service.h"

namespace grpc {
class CallbackGenericService;
}

namespace molesignal {

/// The calls of a server, for grpc::ServerBuilder. Takes calls of every method, because only so a
/// call can be judged before its message is read. `service` outlives it.
std::unique_ptr<grpc::CallbackGenericService> make_export_calls(ExportService& service);

}  // namespace molesignal
