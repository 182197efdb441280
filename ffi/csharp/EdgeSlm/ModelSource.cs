using System;
using System.Runtime.ExceptionServices;
using System.Runtime.InteropServices;

namespace EdgeSlm
{
    /// <summary>
    /// The files of a model directory under their names in it, such as <c>genai_config.json</c> or <c>onnx/model_q4.onnx</c>, read by the
    /// program itself. They are read on the thread that loads the model, before the loading ends.
    /// </summary>
    public interface IModelSource
    {
        /// <summary>How many bytes the file has; null where there is no such file.</summary>
        long? Size(string name);

        /// <summary>
        /// Reads bytes of the file from <paramref name="offset"/> on into the beginning of <paramref name="buffer"/>, at most
        /// <paramref name="count"/>, and returns how many; 0 where the file ends.
        /// </summary>
        int Read(string name, long offset, byte[] buffer, int count);
    }

    /// <summary>Marks what native code calls; compilers ahead of time know it by this name.</summary>
    [AttributeUsage(AttributeTargets.Method)]
    internal sealed class MonoPInvokeCallbackAttribute : Attribute
    {
        internal MonoPInvokeCallbackAttribute(Type type)
        {
            Type = type;
        }

        internal Type Type { get; }
    }

    /// <summary>The callbacks of a source. No exception may pass through native code, so the first is kept.</summary>
    internal sealed unsafe class SourceReader
    {
        [UnmanagedFunctionPointer(CallingConvention.Cdecl)]
        private delegate int SizeCallback(IntPtr reader, NativeMethods.Str name, ulong* size);

        [UnmanagedFunctionPointer(CallingConvention.Cdecl)]
        private delegate long ReadCallback(IntPtr reader, NativeMethods.Str name, ulong offset, byte* buffer, UIntPtr length);

        // Referred to from here, so that they are not collected while native code has their addresses.
        private static readonly SizeCallback OnSize = Size;
        private static readonly ReadCallback OnRead = Read;

        private readonly IModelSource source;
        private readonly byte[] buffer = new byte[1 << 16];
        private Exception thrown;

        private SourceReader(IModelSource source)
        {
            this.source = source;
        }

        /// <summary>Calls <paramref name="load"/> with the callbacks of <paramref name="source"/>; throws what the source has thrown.</summary>
        internal static void Use(IModelSource source, Action<IntPtr> load)
        {
            var reader = new SourceReader(source);
            var handle = GCHandle.Alloc(reader);
            try
            {
                NativeMethods.Source native;
                IntPtr error;
                Interop.Check(NativeMethods.SourceInit(&native, (UIntPtr)sizeof(NativeMethods.Source), &error), error);
                native.UserData = GCHandle.ToIntPtr(handle);
                native.Size = Marshal.GetFunctionPointerForDelegate(OnSize);
                native.Read = Marshal.GetFunctionPointerForDelegate(OnRead);
                load((IntPtr)(&native));
            }
            catch (SlmException) when (reader.thrown != null)
            {
                ExceptionDispatchInfo.Capture(reader.thrown).Throw();
            }
            finally
            {
                handle.Free();
            }
        }

        [MonoPInvokeCallback(typeof(SizeCallback))]
        private static int Size(IntPtr handle, NativeMethods.Str name, ulong* size)
        {
            var reader = (SourceReader)GCHandle.FromIntPtr(handle).Target;
            try
            {
                var found = reader.source.Size(Interop.Text(name));
                if (!found.HasValue) return (int)SlmStatus.NotFound;
                *size = checked((ulong)found.Value);
                return NativeMethods.Ok;
            }
            catch (Exception exception)
            {
                reader.thrown = exception;
                return (int)SlmStatus.Io;
            }
        }

        [MonoPInvokeCallback(typeof(ReadCallback))]
        private static long Read(IntPtr handle, NativeMethods.Str name, ulong offset, byte* target, UIntPtr length)
        {
            var reader = (SourceReader)GCHandle.FromIntPtr(handle).Target;
            try
            {
                var count = (int)Math.Min((ulong)length, (ulong)reader.buffer.Length);
                var given = reader.source.Read(Interop.Text(name), checked((long)offset), reader.buffer, count);
                if (given < 0 || given > count) throw new InvalidOperationException("a source read " + given + " of " + count + " bytes");
                Marshal.Copy(reader.buffer, 0, (IntPtr)target, given);
                return given;
            }
            catch (Exception exception)
            {
                reader.thrown = exception;
                return -1;
            }
        }
    }
}
