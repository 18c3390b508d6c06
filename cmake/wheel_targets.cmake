# Binary wheels of the message packages export include folders of the machine that built them, and CMake refuses a
# target with a missing one. Keep what exists; on an ordinary ROS 2 installation this changes nothing.
# Reads: message_packages, all of them found.
foreach(package IN LISTS message_packages)
  foreach(target ${package}::${package}__rosidl_generator_py ${package}::${package}__rosidl_generator_c)
    if(TARGET ${target})
      get_target_property(folders ${target} INTERFACE_INCLUDE_DIRECTORIES)
      set(kept "")
      foreach(folder IN LISTS folders)
        if(folder MATCHES "\\$<" OR EXISTS "${folder}")
          list(APPEND kept "${folder}")
        endif()
      endforeach()
      set_target_properties(${target} PROPERTIES INTERFACE_INCLUDE_DIRECTORIES "${kept}")
    endif()
  endforeach()
endforeach()
